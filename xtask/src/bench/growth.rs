//! Hosts that grow.

use super::doubts::doubt_samples;
use super::figures::{Figures, Host, Regime};
use super::names::VITALD;
use super::options::Options;
use super::programs::{Programs, Running};
use super::progress::say;
use super::rounds::back_to_back;
use super::sets::SIXTEEN;
use crate::synthetic_host::{SyntheticHost, Trees};
use crate::system::cost::scrape;

/// A generated host, and the programs that run on it.
struct Place {
    host: SyntheticHost,
    trees: Trees,
    running: Vec<Running>,
    regime: Option<Regime>,
    _directory: tempfile::TempDir,
}

/// Generated hosts, each larger than the one before.
pub(crate) fn hosts(programs: &Programs, options: &Options, figures: &mut Figures) -> Vec<Host> {
    let mut places: Vec<Place> =
        options.effort.cpus.iter().map(|&cpus| Place::new(programs, cpus)).collect();
    say("each host in turn");
    for round in 0..options.effort.rounds_of_growth {
        places.iter_mut().for_each(|place| place.measure(round));
    }
    let hosts: Vec<Host> = places.into_iter().filter_map(Place::done).collect();
    // What one of them lacks they all lack.
    if let Some(host) = hosts.last() {
        doubt_samples(&format!("{} CPUs", host.cpus), &host.sizes, figures);
    }
    hosts
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
        let mut running = vec![programs.start_vitald(VITALD, &config)];
        running.extend(programs.start_node_exporter(&flags));
        running.iter_mut().for_each(|running| scrape(&mut running.target.client, 3));
        Place { host, trees, running, regime: None, _directory: directory }
    }

    /// Scrapes each program once, and each finds other counts than the last time.
    fn measure(&mut self, round: usize) {
        self.trees.advance(&self.host, 1 + round as u64);
        let more = back_to_back("", &mut self.running, round..round + 1, 1);
        match &mut self.regime {
            Some(regime) => regime.extend(more),
            None => self.regime = Some(more),
        }
    }

    fn done(mut self) -> Option<Host> {
        let sizes = self.running.iter_mut().map(Running::size).collect();
        let SyntheticHost { cpus, disks, interfaces, .. } = self.host;
        Some(Host { cpus, disks, interfaces, sizes, regime: self.regime? })
    }
}
