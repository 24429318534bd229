//! `cargo xtask budgets`: what a scrape costs now becomes what it may cost.

use crate::files;
use std::path::Path;
use std::process::Command;

const FILE: &str = "tests/budgets.txt";

/// Builds what is measured, and writes the budgets anew.
pub(crate) fn write(root: &Path) -> Result<String, String> {
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root).args(arguments);
        cargo
    };
    let succeed = |mut command: Command| {
        let is_done = command.status().is_ok_and(|status| status.success());
        is_done.then_some(()).ok_or_else(|| format!("this failed: {command:?}"))
    };
    let build = ["build", "--release", "--locked", "--package"];
    succeed(cargo(&[&build[..], &["vitald", "--features", "full"]].concat()))?;
    succeed(cargo(&[&build[..], &["xtask"]].concat()))?;
    // A figure that is not measured any more goes.
    let file = root.join(FILE);
    let before = files::read(&file)?;
    let comments: String =
        before.split_inclusive('\n').filter(|line| line.starts_with('#')).collect();
    files::write(&file, &comments)?;
    let mut test = cargo(&["test", "--locked", "--features", "full", "--test", "system_budgets"]);
    test.args(["--", "--ignored"])
        .env("VITALD_WRITE_BUDGETS", "1")
        .env("VITALD_RELEASE", files::target(root).join("release/vitald"));
    if let Err(error) = succeed(test) {
        // Some of the figures are none.
        files::write(&file, &before)?;
        return Err(error);
    }
    Ok(format!("{FILE} is written; look at the difference"))
}
