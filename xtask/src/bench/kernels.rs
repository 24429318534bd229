//! A host of the kernel's own that has many interfaces and mounts, in namespaces.

use super::figures::Kernels;
use super::lineup::{Lineup, in_blocks};
use super::options::{Effort, Options, Place};
use super::programs::{Programs, Running};
use super::progress::say;
use super::rounds::back_to_back;
use super::sets::{DEFAULT, SIXTEEN, Set};
use crate::system::namespaces::Namespaces;
use crate::system::page::Page;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;

/// Rounds of a block. There is one scrape in each, for which all interfaces have counted on.
const ROUNDS: usize = 4;

/// Those sets that are asked for, of two: one that asks for interfaces by netlink, and one that also reads their attributes
/// in sysfs.
pub(crate) fn kernels(programs: &mut Programs, options: &Options) -> Vec<Kernels> {
    if options.place != Place::Inside {
        return Vec::new();
    }
    let Effort { pairs, mounts, .. } = options.effort;
    say(&format!("{pairs} pairs of interfaces and {mounts} mounts"));
    let directory = tempfile::tempdir().expect("a directory");
    programs.namespaces = Some(host(pairs, mounts, directory.path()));
    let inside = &*programs;
    let is_asked_for = |set: &&&Set| [SIXTEEN.name, DEFAULT.name].contains(&set.name);
    let measured = inside.namespaces.iter().flat_map(|namespaces| {
        namespaces.run(|| {
            let traffic = Traffic::new(pairs);
            let sets = options.sets.iter().filter(is_asked_for);
            sets.map(|set| measure(inside, &options.effort, set, &traffic)).collect::<Vec<_>>()
        })
    });
    let measured = measured.collect();
    programs.namespaces = None;
    measured
}

/// Interfaces that are up, one of each pair with an address; and mounts in this directory.
fn host(pairs: usize, mounts: usize, directory: &Path) -> Namespaces {
    let namespaces = Namespaces::of_both();
    // As on a host, sysfs has the interfaces that netlink has.
    namespaces.sh("mount -t sysfs sysfs /sys");
    namespaces.add_pairs(pairs);
    namespaces.add_mounts(mounts, directory);
    let up = |pair: usize| {
        let address = Ipv4Addr::from(network(pair) + 1);
        format!(
            "link set va{pair} up\nlink set vb{pair} up\naddress add {address}/30 dev va{pair}\n"
        )
    };
    let lines: String = (1..=pairs).map(up).collect();
    namespaces.sh(&format!("ip -batch - <<'end'\n{lines}end"));
    namespaces
}

/// The network of four addresses that a pair has for itself.
fn network(pair: usize) -> u32 {
    (10 << 24) | (pair as u32 * 4)
}

/// Packets, so that no counter of an interface stays what it was.
struct Traffic {
    socket: UdpSocket,
    /// The last address of each network, which is everybody: no neighbour has to be known.
    everybody: Vec<SocketAddrV4>,
}

impl Traffic {
    fn new(pairs: usize) -> Traffic {
        const DISCARD: u16 = 9;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        socket.set_broadcast(true).expect("it may");
        let all = |pair| SocketAddrV4::new(Ipv4Addr::from(network(pair) + 3), DISCARD);
        Traffic { socket, everybody: (1..=pairs).map(all).collect() }
    }

    /// One packet out of one interface of each pair and into the other.
    fn flow(&self) {
        for address in &self.everybody {
            self.socket.send_to(b"packet", address).expect("the interface is up");
        }
    }
}

fn measure(programs: &Programs, effort: &Effort, set: &Set, traffic: &Traffic) -> Kernels {
    say(&format!("{}: on interfaces and mounts of the kernel", set.name));
    let lineup = Lineup::new(programs, set);
    let mut running = Vec::new();
    let regimes = in_blocks("back to back", 1, effort.blocks_of_large, |block| {
        running.clear();
        running = lineup.start(programs, block);
        vec![back_to_back(&mut running, block, ROUNDS, 1, |_| traffic.flow())]
    });
    let shown = running.first_mut().map(|ours| Page::parse(&ours.target.client.page()));
    let count = |family| shown.as_ref().map_or(0, |page| page.family(family).count());
    Kernels {
        set: set.name,
        interfaces: count("node_network_receive_bytes_total"),
        mounts: count("node_filesystem_size_bytes"),
        sizes: running.iter_mut().map(Running::size).collect(),
        regime: regimes.into_iter().next().unwrap_or_default(),
    }
}
