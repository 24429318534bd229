//! Hosts that grow. They are plain files.

use super::figures::{Host, Regime, Size};
use super::names::VITALD;
use super::options::Options;
use super::programs::{Programs, Running};
use super::progress::say;
use super::rounds::back_to_back;
use super::sets::SIXTEEN;
use crate::synthetic_host::{SyntheticHost, Trees};

/// Rounds of a block.
const ROUNDS: usize = 2;

/// A host that was written to files, and what was measured on it.
struct Place {
    host: SyntheticHost,
    trees: Trees,
    config: String,
    flags: Vec<String>,
    /// With which every counter grows.
    age: u64,
    sizes: Vec<Size>,
    regime: Regime,
    _directory: tempfile::TempDir,
}

/// Generated hosts, each larger than the one before.
pub(crate) fn hosts(programs: &Programs, options: &Options) -> Vec<Host> {
    let mut places: Vec<Place> =
        options.effort.cpus.iter().map(|&cpus| Place::new(programs, cpus)).collect();
    say("each host of plain files in turn");
    for block in 0..options.effort.blocks_of_large {
        places.iter_mut().for_each(|place| place.measure(programs, block));
    }
    places.into_iter().map(Place::done).collect()
}

impl Place {
    fn new(programs: &Programs, cpus: usize) -> Place {
        say(&format!("a host with {cpus} CPUs"));
        let host = SyntheticHost {
            cpus,
            disks: cpus * 2_000 / 512,
            interfaces: cpus * 5_000 / 512,
            mounts: 8,
        };
        let directory = tempfile::tempdir().expect("a directory");
        let trees = host.write_to(directory.path());
        let without_netlink = [("netdev", "netlink = false")];
        let config = SIXTEEN.config(&programs.textfiles(), &without_netlink) + &trees.config();
        let flags = [SIXTEEN.flags(&programs.textfiles()), trees.flags()].concat();
        let (sizes, regime) = (Vec::new(), Regime::default());
        Place { host, trees, config, flags, age: 0, sizes, regime, _directory: directory }
    }

    /// Scrapes new processes, each of which finds other counts than the last time.
    fn measure(&mut self, programs: &Programs, block: usize) {
        let mut running = vec![programs.start_vitald(VITALD, &self.config)];
        running.extend(programs.start_node_exporter(&self.flags));
        running.iter_mut().for_each(Running::warm);
        let (trees, host, age) = (&self.trees, &self.host, &mut self.age);
        let rows = back_to_back(&mut running, block, ROUNDS, 1, |_| {
            *age += 1;
            trees.advance(host, *age);
        });
        self.regime.extend(rows);
        // It takes long, and is the same in each block.
        if self.sizes.is_empty() {
            self.sizes = running.iter_mut().map(Running::size).collect();
        }
    }

    fn done(self) -> Host {
        let SyntheticHost { cpus, disks, interfaces, .. } = self.host;
        Host { cpus, disks, interfaces, sizes: self.sizes, regime: self.regime }
    }
}
