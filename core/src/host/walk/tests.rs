//! What a walk promises, on both kinds of host.

use super::*;
use crate::families;
use crate::host::{MemoryHost, Roots};
use crate::run::Run;
use std::time::Duration;

crate::attributes! {
    /// A port of an adapter.
    Port {
        STATE: before_colon = "state";
        STATE_NAME: after_colon = "state";
        RATE: first_f64 * 125e6 = "rate", optional;
        SENT: u64 * 4.0 = "counters/sent", optional;
        LAYER: text = "layer", optional;
    }
}

families! {
    /// The rate.
    RATE: gauge = "rate" [device, port];
}

const PORTS: &str = "sys/class/ib/*/ports/*";

fn ports() -> MemoryHost {
    MemoryHost::from_files(&[
        ("sys/class/ib/a0/ports/1/state", "4: ACTIVE\n"),
        ("sys/class/ib/a0/ports/1/rate", "100 Gb/sec (4X EDR)\n"),
        ("sys/class/ib/a0/ports/1/counters/sent", "7\n"),
        ("sys/class/ib/a0/ports/2/state", "1: DOWN\n"),
        ("sys/class/ib/a1/fw_ver", "no ports\n"),
        ("sys/class/ib/b0/ports/1/state", "4: ACTIVE\n"),
        ("sys/class/ib/b0/ports/1/layer", " Ethernet \n"),
        ("sys/class/ib/b0/ports/abi", "a file is no port"),
        ("sys/class/ib/abi", ""),
    ])
}

fn names<S: Attributes>(children: Matches<'_, S>) -> Vec<String> {
    let levels = children.walk.levels.len();
    children
        .map(|child| {
            let names = (0..levels).map(|level| String::from_utf8_lossy(child.name(level)));
            names.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[test]
fn every_level_is_walked_and_every_format_read() {
    let memory = ports();
    let mut walk: Walk<Port> = memory.host().walk(PORTS);
    let mut run = Run::new(FAMILIES);
    run.begin(None, 0);
    let batch = run.batch();
    let ports = walk.refresh().unwrap();
    assert_eq!(ports.len(), 3);
    for port in ports {
        let labels = batch.labels([port.name(0), port.name(1)]);
        port.push(batch, &RATE, labels, &Port::RATE).unwrap();
    }
    run.seal();
    assert_eq!(run.values(), [100.0 * 125e6]);
    assert_eq!(names(walk.children()), ["a0 1", "a0 2", "b0 1"]);
    let mut ports = walk.children();
    let mut again = Run::new(FAMILIES);
    let batch = again.batch();
    let (first, second) = (ports.next().unwrap(), ports.next().unwrap());
    assert_eq!(first.number(&Port::STATE, batch).unwrap(), Some(4.0));
    assert_eq!(first.text(&Port::STATE_NAME).unwrap(), b"ACTIVE");
    assert_eq!(first.number(&Port::SENT, batch).unwrap(), Some(28.0));
    assert_eq!(second.number(&Port::SENT, batch).unwrap(), None);
    assert_eq!(second.number_or(&Port::SENT, -1.0, batch).unwrap(), Some(-1.0));
    assert_eq!(first.number_or(&Port::SENT, -1.0, batch).unwrap(), Some(28.0));
    assert_eq!(second.text(&Port::LAYER).unwrap(), b"");
    assert_eq!(second.optional_text(&Port::LAYER).unwrap(), None);
    let third = ports.next().unwrap();
    assert_eq!(third.text(&Port::LAYER).unwrap(), b"Ethernet");
    assert_eq!(third.optional_text(&Port::LAYER).unwrap(), Some(&b"Ethernet"[..]));
    assert_eq!(third.optional_text(&Port::STATE_NAME).unwrap(), Some(&b"ACTIVE"[..]));
    memory.write("sys/class/ib/b0/ports/1/layer", "\n");
    let third = walk.refresh().unwrap().nth(2).unwrap();
    assert_eq!(third.optional_text(&Port::LAYER).unwrap(), Some(&b""[..]));
    assert_eq!(walk.children().find(&[b"a0", b"2"]).unwrap().name(1), b"2");
    assert!(walk.children().find(&[b"a0", b"3"]).is_none());
}

#[test]
fn a_line_keeps_its_blanks() {
    crate::attributes! { File { TEXT: text = "label"; LINE: line = "label"; WORD: word = "label"; } }
    let memory = MemoryHost::from_files(&[("sys/class/hwmon/a/label", " Left side \n")]);
    let mut walk = memory.host().walk::<File>("sys/class/hwmon/*");
    let file = walk.refresh().unwrap().next().unwrap();
    assert_eq!(file.text(&File::LINE).unwrap(), b" Left side ");
    assert_eq!(file.text(&File::TEXT).unwrap(), b"Left side");
    assert_eq!(file.text(&File::WORD).unwrap(), b"Left");
}

#[test]
fn a_renamed_child_answers_under_its_new_name_only() {
    let memory = ports();
    let mut walk: Walk<Port> = memory.host().walk(PORTS);
    walk.refresh().unwrap();
    memory.rename("sys/class/ib/a0/ports/1", "sys/class/ib/a0/ports/x");
    memory.rename("sys/class/ib/a0/ports/2", "sys/class/ib/a0/ports/1");
    memory.rename("sys/class/ib/a0/ports/x", "sys/class/ib/a0/ports/2");
    fn state(mut ports: Matches<'_, Port>) -> &[u8] {
        ports.next().unwrap().text(&Port::STATE_NAME).unwrap()
    }
    assert_eq!(state(walk.refresh().unwrap()), b"DOWN");
    // The same a level above.
    memory.rename("sys/class/ib/a0", "sys/class/ib/x");
    memory.rename("sys/class/ib/b0", "sys/class/ib/a0");
    assert_eq!(names(walk.refresh().unwrap()), ["a0 1", "x 1", "x 2"]);
    assert_eq!(state(walk.children()), b"ACTIVE");
}

#[test]
fn children_and_directories_come_and_go() {
    let memory = ports();
    let mut walk: Walk<Port> = memory.host().walk(PORTS);
    walk.refresh().unwrap();
    memory.remove("sys/class/ib/a0/ports/1");
    memory.write("sys/class/ib/a1/ports/9/state", "2: INIT");
    assert_eq!(names(walk.refresh().unwrap()), ["a0 2", "a1 9", "b0 1"]);
    memory.remove("sys/class/ib");
    assert!(matches!(walk.refresh(), Err(Error::Absent { path }) if &*path == "sys/class/ib"));
    assert_eq!(walk.children().len(), 0);
    assert_eq!(walk.optional().unwrap().len(), 0);
    memory.write("sys/class/ib/c/ports/1/state", "4: ACTIVE");
    assert_eq!(names(walk.refresh().unwrap()), ["c 1"]);
    memory.fail("sys/class/ib/c/ports", 13);
    let error = walk.refresh().map(|ports| ports.len()).unwrap_err();
    assert!(error.to_string().starts_with("sys/class/ib/c/ports: "), "{error}");
}

#[test]
fn one_child_more_or_less_costs_no_other() {
    crate::attributes! { Named { NAME: text = "v"; } }
    let memory = MemoryHost::from_files(&[("sys/c/b/v", "b"), ("sys/c/d/v", "d")]);
    let mut walk: Walk<Named> = memory.host().walk("sys/c/*");
    let mut seen = || {
        for child in walk.refresh().unwrap() {
            assert_eq!(child.text(&Named::NAME).unwrap(), child.name(0));
        }
        names(walk.children()).concat()
    };
    assert_eq!(seen(), "bd");
    for (path, expected) in [("a", "abd"), ("c", "abcd"), ("e", "abcde")] {
        memory.write(format!("sys/c/{path}/v"), path);
        assert_eq!(seen(), expected);
    }
    for (path, expected) in [("c", "abde"), ("a", "bde"), ("e", "bd"), ("b", "d"), ("d", "")] {
        memory.remove(format!("sys/c/{path}"));
        assert_eq!(seen(), expected);
    }
}

#[test]
fn linked_children_are_followed() {
    crate::attributes! { Interface { MTU: text = "mtu"; } }
    let memory = MemoryHost::from_files(&[("sys/devices/pci/net/eth0/mtu", "1500")]);
    memory.make_directory("sys/class/net");
    memory.link("sys/class/net/eth0", "../../devices/pci/net/eth0");
    memory.link("sys/class/net/eth1", "../../devices/gone");
    let mut walk: Walk<Interface> = memory.host().walk("sys/class/net/*");
    assert_eq!(names(walk.refresh().unwrap()), ["eth0"]);
    assert_eq!(walk.children().next().unwrap().text(&Interface::MTU).unwrap(), b"1500");
}

#[cfg(target_os = "linux")]
#[test]
fn interfaces_of_this_host_are_kept() {
    crate::attributes! { Interface { INDEX: u64 = "ifindex"; NONE: text = "no_such", optional; } }
    let mut walk: Walk<Interface> = Host::new(Roots::default()).walk("sys/class/net/*");
    let mut run = Run::new(FAMILIES);
    for _ in 0..3 {
        let loopback = walk.refresh().unwrap().find(&[b"lo"]).unwrap();
        assert!(loopback.number(&Interface::INDEX, run.batch()).unwrap().unwrap() >= 1.0);
        assert_eq!(loopback.text(&Interface::NONE).unwrap(), b"");
        assert!(walk.kept() > 1);
    }
}

#[test]
fn what_a_driver_does_not_say_costs_one_attribute_or_one_child() {
    let memory = ports();
    let mut walk: Walk<Port> = memory.host().walk(PORTS);
    let mut run = Run::new(FAMILIES);
    for errno in [5, 11, 16, 19, 22, 61, 95, 110] {
        memory.fail("sys/class/ib/a0/ports/1/rate", errno);
        memory.fail("sys/class/ib/a0/ports/2/state", errno);
        let ports = walk.refresh().unwrap();
        assert_eq!(names(ports), ["a0 1", "b0 1"], "errno {errno}");
        let first = walk.children().next().unwrap();
        assert_eq!(first.number(&Port::RATE, run.batch()).unwrap(), None);
    }
    // What the daemon may not read is a fault where the attribute is needed.
    memory.fail("sys/class/ib/a0/ports/2/state", 13);
    let error = walk.refresh().unwrap().nth(1).unwrap().text(&Port::STATE_NAME).unwrap_err();
    assert!(error.to_string().starts_with("sys/class/ib/a0/ports/2/state: "), "{error}");
    // Nothing of that is remembered.
    memory.write("sys/class/ib/a0/ports/1/rate", "1 Gb/sec");
    memory.write("sys/class/ib/a0/ports/2/state", "odd");
    assert_eq!(walk.refresh().unwrap().len(), 3);
    let second = walk.children().nth(1).unwrap();
    assert_eq!(second.number(&Port::STATE, run.batch()).unwrap(), None);
    assert_eq!(run.malformed().unwrap().0, 1);
}

#[test]
fn an_absence_is_remembered_for_plain_attributes_only() {
    let memory = ports();
    let mut walk: Walk<Port> = memory.host().walk(PORTS);
    walk.refresh().unwrap();
    memory.write("sys/class/ib/a0/ports/2/rate", "1");
    memory.write("sys/class/ib/a0/ports/2/counters/sent", "2");
    let mut run = Run::new(FAMILIES);
    let second = walk.refresh().unwrap().nth(1).unwrap();
    assert_eq!(second.number(&Port::RATE, run.batch()).unwrap(), None);
    assert_eq!(second.number(&Port::SENT, run.batch()).unwrap(), Some(8.0));
    // A new child of the same name has a life of its own.
    memory.remove("sys/class/ib/a0/ports/2");
    memory.write("sys/class/ib/a0/ports/2/state", "1: DOWN");
    memory.write("sys/class/ib/a0/ports/2/rate", "1");
    let second = walk.refresh().unwrap().nth(1).unwrap();
    assert_eq!(second.number(&Port::RATE, run.batch()).unwrap(), Some(125e6));
}

#[test]
fn what_is_made_later_in_procfs_is_found() {
    crate::attributes! { Pool { STATE: text = "state", optional; IO: text = "io", optional; } }
    let memory = MemoryHost::from_files(&[("proc/spl/kstat/zfs/tank/io", "1")]);
    let mut walk = memory.host().walk::<Pool>("proc/spl/kstat/zfs/*");
    let mut state = || {
        let pool = walk.refresh().unwrap().next().unwrap();
        String::from_utf8_lossy(pool.text(&Pool::STATE).unwrap()).into_owned()
    };
    assert_eq!(state(), "");
    memory.write("proc/spl/kstat/zfs/tank/state", "ONLINE");
    assert_eq!(state(), "ONLINE");
}

#[test]
fn a_steady_refresh_reads_each_attribute_once() {
    let memory = ports();
    let mut walk: Walk<Port> = memory.host().walk(PORTS);
    walk.refresh().unwrap();
    // Two levels of directories, and the attributes that are there.
    assert_eq!(walk.kept(), 1 + 2 + 4 + 2 + 3);
    let before = memory.reads();
    walk.refresh().unwrap();
    assert_eq!(memory.reads() - before, 9);
}

crate::attributes! {
    Disk {
        ROTATIONAL: text = "queue/rotational", optional, slow;
        SIZE: u64 = "size";
    }
}

/// So many disks with the same content of the slow attribute.
fn write_disks(memory: &MemoryHost, disks: u64, content: &str) {
    for disk in 0..disks {
        memory.write(format!("sys/block/d{disk:03}/size"), "1");
        memory.write(format!("sys/block/d{disk:03}/queue/rotational"), content);
    }
}

/// How many disks show this content.
fn showing(disks: Matches<'_, Disk>, content: &str) -> usize {
    disks.filter(|disk| disk.text(&Disk::ROTATIONAL).unwrap() == content.as_bytes()).count()
}

#[test]
fn slow_attributes_are_read_in_turn_and_at_once_for_a_new_child() {
    let memory = MemoryHost::new();
    write_disks(&memory, 100, "0");
    let mut walk: Walk<Disk> = memory.host().walk::<Disk>("sys/block/*");
    assert_eq!(showing(walk.refresh().unwrap(), "0"), 100);
    write_disks(&memory, 100, "1");
    let before = memory.reads();
    assert_eq!(showing(walk.refresh().unwrap(), "1"), 0, "no time has passed");
    assert_eq!(memory.reads() - before, 100, "the sizes");
    let mut shown = 0;
    for expected in [30, 60, 90, 100] {
        let before = memory.reads();
        memory.pass_time(Duration::from_secs(15));
        shown = showing(walk.refresh().unwrap(), "1");
        assert!(expected - 2 <= shown && shown <= expected + 2, "{shown} of {expected}");
        let slow = memory.reads() - before - 100;
        assert!((28..=32).contains(&slow), "{slow} at a time");
    }
    assert_eq!(shown, 100);
    memory.write("sys/block/d030x/size", "1");
    memory.write("sys/block/d030x/queue/rotational", "1");
    assert_eq!(showing(walk.refresh().unwrap(), "1"), 101);
    // Another disk under an old name is another child.
    memory.remove("sys/block/d000");
    memory.write("sys/block/d000/size", "1");
    memory.write("sys/block/d000/queue/rotational", "0");
    assert_eq!(showing(walk.refresh().unwrap(), "1"), 100);
}

/// Whichever one is changed, whenever, and whatever comes and goes meanwhile: a minute later it is shown.
#[test]
fn a_change_of_any_slow_attribute_is_shown_within_a_minute() {
    for interval in [0.5, 1.0, 15.0, 29.0, 60.0] {
        let memory = MemoryHost::new();
        write_disks(&memory, 500, "0");
        let mut walk: Walk<Disk> = memory.host().walk::<Disk>("sys/block/*");
        walk.refresh().unwrap();
        let mut guests = 0;
        for content in ["1", "2", "3"] {
            write_disks(&memory, 500, content);
            for _ in 0..(60.0 / interval) as usize {
                memory.pass_time(Duration::from_secs_f64(interval));
                // Others before, between and behind them come, and go with the next refresh or the one after it.
                for name in ["c", "d123x", "e"] {
                    memory.write(format!("sys/block/{name}{guests}/size"), "1");
                    memory.write(format!("sys/block/{name}{guests}/queue/rotational"), "other");
                    guests += 1;
                    if guests % 5 != 0 && guests > 3 {
                        memory.remove(format!("sys/block/{name}{}", guests - 4));
                    }
                }
                walk.refresh().unwrap();
            }
            let children = walk.children().len();
            assert_eq!(showing(walk.children(), content), 500, "each {interval} s, of {children}");
        }
    }
}

#[test]
fn what_cannot_change_without_its_child_is_read_once() {
    let memory = MemoryHost::new();
    write_disks(&memory, 3, "0");
    let mut walk: Walk<Disk> = memory.host().walk::<Disk>("sys/block/*").slow_once();
    walk.refresh().unwrap();
    write_disks(&memory, 3, "1");
    memory.pass_time(Duration::from_secs(3600));
    assert_eq!(showing(walk.refresh().unwrap(), "0"), 3);
}

#[test]
fn the_first_slow_attributes_keep_descriptors_and_thousands_do_not() {
    let memory = MemoryHost::new();
    for disk in 0..100 {
        memory.write(format!("sys/block/d{disk:02}/size"), "1");
        memory.write(format!("sys/block/d{disk:02}/queue/rotational"), "0");
    }
    let mut walk: Walk<Disk> = memory.host().walk::<Disk>("sys/block/*");
    for _ in 0..4 {
        memory.pass_time(Duration::from_secs(30));
        walk.refresh().unwrap();
        // The directory, each size, and the first of what is slow.
        assert_eq!(walk.kept(), 1 + 100 + 96);
    }
    // A descriptor that has lost its file is opened again by path, whichever turn that is.
    memory.fail("sys/block/d00/queue/rotational", 19);
    memory.pass_time(Duration::from_secs(60));
    walk.refresh().unwrap();
    assert_eq!(walk.kept(), 1 + 100 + 95);
    memory.write("sys/block/d00/queue/rotational", "1");
    memory.pass_time(Duration::from_secs(60));
    walk.refresh().unwrap();
    let first = walk.children().next().unwrap();
    assert_eq!(first.text(&Disk::ROTATIONAL).unwrap(), b"1");
    // Of those that nothing reads again none is kept.
    let mut once: Walk<Disk> = memory.host().walk::<Disk>("sys/block/*").slow_once();
    once.refresh().unwrap();
    assert_eq!(once.kept(), 1 + 100);
}

#[test]
fn slow_attributes_are_read_again_within_a_number_of_refreshes() {
    for disks in [1, 3, 10, 100] {
        let memory = MemoryHost::new();
        write_disks(&memory, disks, "0");
        let mut walk: Walk<Disk> = memory.host().walk::<Disk>("sys/block/*").slow_within(8);
        walk.refresh().unwrap();
        for content in ["1", "2"] {
            write_disks(&memory, disks, content);
            let mut most = 0;
            for _ in 0..8 {
                let before = memory.reads();
                walk.refresh().unwrap();
                most = most.max(memory.reads() - before - disks);
            }
            assert_eq!(showing(walk.children(), content) as u64, disks);
            assert!(most <= disks.div_ceil(8) + 2, "{most} of {disks} at a time");
        }
    }
}

#[test]
fn slow_attributes_are_read_again_when_that_is_asked_for() {
    let memory = MemoryHost::new();
    write_disks(&memory, 100, "0");
    let mut walk: Walk<Disk> = memory.host().walk::<Disk>("sys/block/*");
    walk.refresh().unwrap();
    let refresh = |walk: &mut Walk<Disk>| {
        let before = memory.reads();
        walk.refresh().unwrap();
        memory.reads() - before - 100
    };
    walk.read_again(b"d077");
    walk.read_again(b"d099");
    walk.read_again(b"no such one");
    assert_eq!(refresh(&mut walk), 2);
    assert_eq!(refresh(&mut walk), 0);
    walk.read_all();
    assert_eq!(refresh(&mut walk), 100);
    assert_eq!(walk.kept(), 1 + 100 + 100, "what is read each time is kept");
    assert_eq!(refresh(&mut walk), 0);
    let first = walk.children().next().unwrap();
    assert!(first.is(&Disk::SIZE, 1.0) && !first.is(&Disk::SIZE, 2.0));
}

crate::attributes! {
    File {
        CONTENT: text = "", optional, slow;
    }
}

#[test]
fn files_are_children_if_asked_for() {
    let memory = MemoryHost::from_files(&[
        ("udev/b8:0", "E:ID_MODEL=one"),
        ("udev/b8:16", "E:ID_MODEL=two"),
        ("udev/n2", "E:ID_NET=x"),
    ]);
    let host = memory.host();
    assert_eq!(host.walk::<File>("udev/b*").refresh().unwrap().len(), 0);
    let mut walk = host.walk::<File>("udev/b*").files().slow_once();
    let contents = |files: Matches<'_, File>| -> Vec<Vec<u8>> {
        files.map(|file| file.text(&File::CONTENT).unwrap().to_vec()).collect()
    };
    assert_eq!(contents(walk.refresh().unwrap()), [b"E:ID_MODEL=one", b"E:ID_MODEL=two"]);
    assert_eq!(walk.children().next().unwrap().star(0), b"8:0");
    // udev replaces a file by another one: the new inode is read at once, and no other.
    memory.write("udev/.tmp", "E:ID_MODEL=new");
    memory.rename("udev/.tmp", "udev/b8:16");
    let before = memory.reads();
    assert_eq!(contents(walk.refresh().unwrap()), [b"E:ID_MODEL=one", b"E:ID_MODEL=new"]);
    assert_eq!(memory.reads() - before, 1);
}

crate::attributes! {
    Sensor {
        NUMBER: u64 = "", optional;
        WORDS: text = "", optional;
    }
}

#[test]
fn slow_children_are_read_again_in_turn() {
    let memory = MemoryHost::new();
    for sensor in 0..10 {
        memory.write(format!("sys/chip/t{sensor}_input"), "1");
        memory.write(format!("sys/chip/t{sensor}_limit"), "1");
    }
    let walk = memory.host().walk::<Sensor>("sys/chip/t*").files();
    let mut walk = walk.slow_children(|name: &[u8]| name.ends_with(b"_limit"));
    let mut refreshed = |seconds| {
        memory.pass_time(Duration::from_secs(seconds));
        let before = memory.reads();
        let twos =
            walk.refresh().unwrap().filter(|sensor| sensor.text(&Sensor::WORDS).unwrap() == b"2");
        (twos.count(), memory.reads() - before)
    };
    assert_eq!(refreshed(0), (0, 20));
    for sensor in 0..10 {
        memory.write(format!("sys/chip/t{sensor}_input"), "2");
        memory.write(format!("sys/chip/t{sensor}_limit"), "2");
    }
    assert_eq!(refreshed(0), (10, 10));
    let (half, reads) = refreshed(25);
    assert!((14..=16).contains(&half) && reads == half as u64, "{half} by {reads} reads");
    assert_eq!(refreshed(25).0, 20);
    // One that cannot be read is tried again each time.
    memory.fail("sys/chip/t5_limit", 61);
    assert_eq!(refreshed(60).0, 19);
    memory.write("sys/chip/t5_limit", "2");
    assert_eq!(refreshed(0).0, 20);
}

/// Whatever a file is taken for, it is read once.
#[test]
fn a_file_with_several_attributes_is_read_once() {
    let memory = MemoryHost::from_files(&[("sys/chip/t1", "7 \n"), ("sys/chip/t2", "x")]);
    let mut walk = memory.host().walk::<Sensor>("sys/chip/t*").files();
    let before = memory.reads();
    let [one, two] = walk.refresh().unwrap().collect::<Vec<_>>().try_into().ok().unwrap();
    assert_eq!(memory.reads() - before, 2);
    let mut batch = Run::new(&[]);
    assert_eq!(one.number(&Sensor::NUMBER, batch.batch()).unwrap(), Some(7.0));
    assert_eq!(one.text(&Sensor::WORDS).unwrap(), b"7");
    assert_eq!(two.text(&Sensor::WORDS).unwrap(), b"x");
}

#[test]
fn a_fault_is_tried_again_where_nothing_rotates() {
    let memory = MemoryHost::from_files(&[("udev/b8:0", "one"), ("udev/b8:16", "two")]);
    memory.fail("udev/b8:16", 13);
    let mut walk = memory.host().walk::<File>("udev/b*").files().slow_once();
    let second = walk.refresh().unwrap().nth(1).unwrap();
    assert_eq!(second.text(&File::CONTENT).unwrap(), b"");
    memory.write("udev/b8:16", "two");
    let second = walk.refresh().unwrap().nth(1).unwrap();
    assert_eq!(second.text(&File::CONTENT).unwrap(), b"two");
    let before = memory.reads();
    walk.refresh().unwrap();
    assert_eq!(memory.reads() - before, 0);
}

#[test]
fn directories_are_listed_when_the_circumstances_change() {
    let memory = ports();
    let mut walk: Walk<Port> = memory.host().walk(PORTS);
    assert_eq!(names(walk.under(Some(1)).refresh().unwrap()), ["a0 1", "a0 2", "b0 1"]);
    // `a1` has no ports, so the directories are not known to be complete.
    memory.remove("sys/class/ib/a1");
    assert_eq!(walk.refresh().unwrap().len(), 3);
    memory.write("sys/class/ib/a0/ports/3/state", "1: DOWN");
    memory.write("sys/class/ib/b0/ports/1/state", "1: DOWN");
    let last = walk.refresh().unwrap().nth(2).unwrap();
    assert_eq!(last.text(&Port::STATE_NAME).unwrap(), b"DOWN", "what is there is read");
    assert_eq!(names(walk.children()), ["a0 1", "a0 2", "b0 1"]);
    assert_eq!(names(walk.under(Some(2)).refresh().unwrap()), ["a0 1", "a0 2", "a0 3", "b0 1"]);
    // A child that goes is left out at once, and looked for from then on.
    memory.remove("sys/class/ib/a0/ports/2");
    assert_eq!(names(walk.refresh().unwrap()), ["a0 1", "a0 3", "b0 1"]);
    memory.write("sys/class/ib/a0/ports/4/state", "1: DOWN");
    assert_eq!(names(walk.refresh().unwrap()), ["a0 1", "a0 3", "a0 4", "b0 1"]);
    memory.remove("sys/class/ib");
    assert_eq!(walk.refresh().unwrap().len(), 0);
    assert!(walk.refresh().is_err());
    assert_eq!(walk.optional().unwrap().len(), 0);
    memory.write("sys/class/ib/c/ports/1/state", "4: ACTIVE");
    assert_eq!(names(walk.refresh().unwrap()), ["c 1"]);
    // Without circumstances every refresh lists.
    memory.write("sys/class/ib/c/ports/2/state", "4: ACTIVE");
    assert_eq!(walk.refresh().unwrap().len(), 1);
    assert_eq!(walk.under(None).refresh().unwrap().len(), 2);
}

#[test]
fn a_class_without_a_device_is_looked_at_after_an_event() {
    let memory = MemoryHost::new();
    let mut walk: Walk<Port> = memory.host().walk(PORTS);
    let mut refresh = |number| {
        let before = memory.requests();
        let names = match walk.under_events(number).refresh() {
            Ok(children) => Some(names(children).join(", ")),
            Err(error) => {
                assert_eq!(error.to_string(), "sys/class/ib: not on this host");
                None
            }
        };
        let asked = memory.requests() - before;
        (names, asked.opened + asked.listings > 0)
    };
    assert_eq!(refresh(Some(1)), (None, true));
    assert_eq!(refresh(Some(1)), (None, false));
    assert_eq!(refresh(None), (None, true), "there may be no number");
    assert_eq!(refresh(Some(1)), (None, true));
    memory.make_directory("sys/class/ib");
    assert_eq!(refresh(Some(2)), (Some(String::new()), true));
    assert_eq!(refresh(Some(2)), (Some(String::new()), false));
    memory.write("sys/class/ib/c/ports/1/state", "4: ACTIVE");
    assert_eq!(refresh(Some(3)), (Some("c 1".into()), true));
    // One that lacks what it needs may get it.
    memory.remove("sys/class/ib/c/ports/1/state");
    assert_eq!(refresh(Some(3)), (Some(String::new()), true));
    assert_eq!(refresh(Some(3)), (Some(String::new()), true));
}

#[test]
fn a_child_is_found_where_it_was() {
    let memory = ports();
    let mut walk: Walk<Port> = memory.host().walk(PORTS);
    walk.refresh().unwrap();
    let mut place = 0;
    let inode = {
        let child = walk.children().find_again(&[b"b0", b"1"], &mut place).unwrap();
        assert_eq!(child.name(0), b"b0");
        child.inode()
    };
    assert_eq!(place, 2);
    assert!(walk.children().find_again(&[b"b0"], &mut place).is_none());
    assert!(walk.children().find_again(&[b"b0", b"2"], &mut place).is_none());
    memory.remove("sys/class/ib/a0");
    walk.refresh().unwrap();
    let child = walk.children().find_again(&[b"b0", b"1"], &mut place).unwrap();
    assert_eq!((child.inode(), place), (inode, 0));
    memory.rename("sys/class/ib/b0/ports/1", "sys/class/ib/b0/ports/2");
    memory.write("sys/class/ib/b0/ports/1/state", "4: ACTIVE");
    walk.refresh().unwrap();
    assert_ne!(walk.children().find(&[b"b0", b"1"]).unwrap().inode(), inode);
}

#[test]
fn names_are_chosen_once() {
    let memory = MemoryHost::from_files(&[
        ("sys/block/a/size", "1"),
        ("sys/block/b/size", "2"),
        ("sys/block/c/size", "3"),
    ]);
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    let mut walk = memory.host().walk::<Disk>("sys/block/*").only(0, move |name| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        name != b"b"
    });
    for _ in 0..3 {
        assert_eq!(names(walk.refresh().unwrap()), ["a", "c"]);
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[test]
fn a_component_may_have_several_stars() {
    crate::attributes! { Namespace { SIZE: u64 = "size"; } }
    let memory = MemoryHost::new();
    for name in
        ["nvme0/nvme0n1", "nvme0/nvme0n12", "nvme1/nvme1c0n1", "nvme0/hwmon1", "nvme0/nvme1"]
    {
        memory.write(format!("sys/class/nvme/{name}/size"), "1");
    }
    let stars = |pattern: &str| {
        let mut walk: Walk<Namespace> = memory.host().walk(pattern);
        let children = walk.refresh().unwrap();
        let star =
            |child: Child<'_, Namespace>| String::from_utf8_lossy(child.star(1)).into_owned();
        children.map(star).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(stars("sys/class/nvme/nvme*/nvme*n*"), "0n1 0n12 1c0n1");
    assert_eq!(stars("sys/class/nvme/nvme*/nvme*c*n*"), "1c0n1");
    assert_eq!(stars("sys/class/nvme/nvme*/nvme**n1"), "0 1c0");
    // No byte of a name is matched twice.
    assert_eq!(stars("sys/class/nvme/nvme*/nvme0n*n*1"), "");
    assert_eq!(stars("sys/class/nvme/nvme*/*nvme*e*"), "");
}

#[test]
#[should_panic(expected = "a walk's pattern ends with a component that has a * in it")]
fn a_pattern_without_an_end_is_a_mistake() {
    MemoryHost::new().host().walk::<Disk>("sys/block/*/queue");
}

/// On real directories that are no sysfs nothing is kept, and everything is found all the same.
#[test]
fn a_real_host_gives_the_same() {
    let directory = tempfile();
    let memory = ports();
    for file in memory.files() {
        let path = directory.0.join(&file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, memory.content(&file).unwrap()).unwrap();
    }
    let host = Host::new(Roots { sysfs: directory.0.join("sys"), ..Roots::default() });
    let mut walk: Walk<Port> = host.walk(PORTS);
    for _ in 0..2 {
        assert_eq!(names(walk.refresh().unwrap()), ["a0 1", "a0 2", "b0 1"]);
        let first = walk.children().next().unwrap();
        assert_eq!(first.text(&Port::STATE_NAME).unwrap(), b"ACTIVE");
    }
    assert_eq!(walk.kept(), 0);
    std::fs::write(directory.0.join("sys/class/ib/a0/ports/2/layer"), "late").unwrap();
    let second = walk.refresh().unwrap().nth(1).unwrap();
    assert_eq!(second.text(&Port::LAYER).unwrap(), b"late");
}

struct Directory(std::path::PathBuf);

fn tempfile() -> Directory {
    let name = format!("vitald-walk-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).unwrap();
    Directory(path)
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A file of procfs that does not fit into a page ends no read before its last record.
#[test]
fn files_of_many_records_are_read_to_their_ends() {
    crate::attributes! { File { CONTENT: line = ""; } }
    let text = "a record of the kernel\n".repeat(400);
    let memory = MemoryHost::from_files(&[("proc/pool/objset-1", &text), ("proc/pool/io", "1\n")]);
    memory.set_chunk(700);
    let mut walk = memory.host().walk::<File>("proc/pool/objset-*").files().records();
    for _ in 0..2 {
        let file = walk.refresh().unwrap().next().unwrap();
        assert_eq!(file.text(&File::CONTENT).unwrap(), text.trim_end().as_bytes());
    }
}

#[test]
fn an_integer_may_be_hexadecimal() {
    use super::attributes::integer;
    let values = [("0x1303", 4867.0), ("0x0", 0.0), ("-1", -1.0), ("20", 20.0)];
    for (text, value) in values {
        assert_eq!(integer(text.as_bytes()), Ok(value), "{text}");
    }
    for text in ["", "0x", "0xg", "1f", "1 2"] {
        assert!(integer(text.as_bytes()).is_err(), "{text}");
    }
}
