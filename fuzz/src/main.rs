//! The one fuzzer: libFuzzer around the target that the environment names.
//!
//! * `VITALD_FUZZ_TARGET`: the target; without it the names of all targets are printed.
//! * `VITALD_FUZZ_SEEDS`: a folder, into which the target's seeds are written first.
//!
//! Everything else is libFuzzer's command line. `cargo xtask fuzz` sets both.
#![no_main]

use std::path::Path;
use std::process::exit;
use std::sync::OnceLock;
use vitald_fuzz::{Target, targets};

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        choose();
    },
    |bytes: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.run)(bytes);
        }
    }
);

fn choose() {
    let Ok(name) = std::env::var("VITALD_FUZZ_TARGET") else {
        for target in targets() {
            println!("{}", target.name);
        }
        exit(0)
    };
    let Some(target) = targets().into_iter().find(|target| target.name == name) else {
        eprintln!("There is no target {name}.");
        exit(2)
    };
    if let Ok(folder) = std::env::var("VITALD_FUZZ_SEEDS")
        && let Err(error) = write_seeds(&target, Path::new(&folder))
    {
        eprintln!("The seeds could not be written to {folder}: {error}.");
        exit(2)
    }
    let _ = TARGET.set(target);
}

fn write_seeds(target: &Target, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (number, seed) in target.seeds.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}
