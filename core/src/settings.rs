//! Settings: declared once with type, default and doc; decoded strictly from neutral values.
//!
//! A loader (the daemon's is built on the `config` crate) turns files, environment and flags into
//! [`Value`]s that remember where they came from; [`settings!`](crate::settings) makes the struct
//! and the decoder. The core crate knows no file format.

mod macros;
mod mistakes;
mod secret_url;
mod setting;
mod types;
mod value;

pub use mistakes::{Mistake, Mistakes, nearest};
pub use secret_url::SecretUrl;
pub use setting::{Setting, SettingInfo, Settings, field};
#[doc(hidden)]
pub use setting::{flatten, total};
pub use types::{Size, one_of};
pub use value::{Node, Origin, Table, UNSET, Value};
