//! What single collectors cost on hosts that have much of what they read.

use super::options::Options;
use super::programs::Programs;
use super::progress::say;
use crate::large_host::LargeHost;
use crate::large_host_cost::{HEAD, measure};
use std::fs;

/// Rounds of a host, in each of which every program is scraped once.
const ROUNDS: usize = 12;
const FEW_ROUNDS: usize = 4;

/// Measures and makes a table, which is printed, or written where that was asked for.
pub(crate) fn run(
    programs: &Programs,
    options: &Options,
    hosts: &[&'static LargeHost],
) -> Result<String, String> {
    if !programs.strace {
        return Err(
            "hosts of files are taken for the kernel's with root and strace only".to_owned()
        );
    }
    let rounds = if options.effort.is_quick { FEW_ROUNDS } else { ROUNDS };
    let mut lines = HEAD.map(str::to_owned).to_vec();
    for host in hosts {
        say(host.collector);
        let theirs = programs.node_exporter.as_deref();
        lines.push(measure(host, &programs.vitald, theirs, rounds).row(host));
    }
    let table = lines.join("\n");
    let Some(file) = &options.output else { return Ok(table) };
    fs::write(file, table + "\n").map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(format!("wrote {}", file.display()))
}
