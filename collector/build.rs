//! Tells the linker which functions to put together: those that a scrape runs (see `order.ld`).

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=order.ld");
    let is = |name: &str, value: &str| var(name).is_ok_and(|known| known == value);
    // A linker of the builder's own choice may not take such a file, and is left alone.
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let is_linker_chosen = var("RUSTC_LINKER").is_ok()
        || ["linker", "fuse-ld", "ld-path"].iter().any(|word| flags.contains(word));
    if is("CARGO_CFG_TARGET_OS", "linux") && is("PROFILE", "release") && !is_linker_chosen {
        let folder = var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
        println!("cargo::rustc-link-arg-bins=-T{folder}/order.ld");
    }
}
