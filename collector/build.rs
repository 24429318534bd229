//! Tells the linker which functions to put together: those that a scrape runs (see `order.ld`), and to take the library
//! that unwinds a panic into the program.

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
        // A shared library takes a start a quarter of a millisecond, and this one is for a few functions. Of two that have them
        // the first one counts, and this comes before the shared one that the standard library names.
        if is("CARGO_CFG_TARGET_ENV", "gnu") {
            println!("cargo::rustc-link-lib=gcc_eh");
        }
    }
}
