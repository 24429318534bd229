//! What ZFS counts, from `/proc/spl/kstat/zfs` (module/os/linux/spl/spl-kstat.c of OpenZFS).

use vitald_core::family::is_metric_name;
use vitald_core::prelude::*;

families! {
    /// Whether a pool is in this state.
    POOL_STATE: gauge = "node_zfs_zpool_state" [zpool, state];
}

attributes! {
    Pool {
        IO: line = "io", optional;
        STATE: word = "state", optional;
    }
}

attributes! {
    Dataset {
        STATISTICS: line = "", optional;
    }
}

/// The files of numbers, and what the names of their families begin with.
const FILES: [(&str, &[u8]); 11] = [
    ("proc/spl/kstat/zfs/abdstats", b"node_zfs_abd_"),
    ("proc/spl/kstat/zfs/arcstats", b"node_zfs_arc_"),
    ("proc/spl/kstat/zfs/dbufstats", b"node_zfs_dbuf_"),
    ("proc/spl/kstat/zfs/dmu_tx", b"node_zfs_dmu_tx_"),
    ("proc/spl/kstat/zfs/dnodestats", b"node_zfs_dnode_"),
    ("proc/spl/kstat/zfs/fm", b"node_zfs_fm_"),
    ("proc/spl/kstat/zfs/vdev_cache_stats", b"node_zfs_vdev_cache_"),
    ("proc/spl/kstat/zfs/vdev_mirror_stats", b"node_zfs_vdev_mirror_"),
    ("proc/spl/kstat/zfs/xuio_stats", b"node_zfs_xuio_"),
    ("proc/spl/kstat/zfs/zfetchstats", b"node_zfs_zfetch_"),
    ("proc/spl/kstat/zfs/zil", b"node_zfs_zil_"),
];

const STATES: [&[u8]; 7] =
    [b"online", b"degraded", b"faulted", b"offline", b"removed", b"unavail", b"suspended"];

register_collector!(Zfs);

struct Zfs {
    files: [(KeptFile, Names); 11],
    pools: Walk<Pool>,
    pool_names: Names,
    datasets: Walk<Dataset>,
    dataset_names: Names,
}

impl Collector for Zfs {
    about! {
        name: "zfs",
        summary: "What ZFS counts: its cache, pools and datasets",
        families: FAMILIES,
        patterns: [FamilyPattern {
            name: "node_zfs_*",
            kinds: &[Kind::Untyped],
            help: "A number of a file in /proc/spl/kstat/zfs, after the file and the number.",
        }],
        sources: [
            "proc/spl/kstat/zfs/abdstats",
            "proc/spl/kstat/zfs/arcstats",
            "proc/spl/kstat/zfs/dbufstats",
            "proc/spl/kstat/zfs/dmu_tx",
            "proc/spl/kstat/zfs/dnodestats",
            "proc/spl/kstat/zfs/fm",
            "proc/spl/kstat/zfs/vdev_cache_stats",
            "proc/spl/kstat/zfs/vdev_mirror_stats",
            "proc/spl/kstat/zfs/xuio_stats",
            "proc/spl/kstat/zfs/zfetchstats",
            "proc/spl/kstat/zfs/zil",
            "proc/spl/kstat/zfs/*/io",
            "proc/spl/kstat/zfs/*/state",
            "proc/spl/kstat/zfs/*/objset-*",
        ],
    }

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Zfs {
            files: FILES.map(|(path, prefix)| (host.keep(path), Names::new(prefix))),
            pools: host.walk("proc/spl/kstat/zfs/*").records(),
            pool_names: Names::new(b"node_zfs_zpool_"),
            datasets: host.walk("proc/spl/kstat/zfs/*/objset-*").files().records(),
            dataset_names: Names::new(b"node_zfs_zpool_dataset_"),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let pools = self.pools.refresh()?;
        for (file, names) in &mut self.files {
            // Which there are depends on the version.
            let Some(text) = file.optional()? else { continue };
            let labels = batch.label_pairs(&[]);
            names.begin();
            push_numbers(batch, names, labels, text);
        }
        self.pool_names.begin();
        for pool in pools {
            let labels = batch.label_pairs(&[(b"zpool", pool.name(0))]);
            push_table(batch, &mut self.pool_names, labels, pool.text(&Pool::IO)?);
            let state = pool.text(&Pool::STATE)?;
            if !state.is_empty() {
                for known in STATES {
                    batch.row(
                        &POOL_STATE,
                        [pool.name(0), known],
                        state.eq_ignore_ascii_case(known),
                    );
                }
            }
        }
        self.dataset_names.begin();
        for dataset in self.datasets.optional()? {
            let text = dataset.text(&Dataset::STATISTICS)?;
            let Some(name) = dataset_name(text) else { continue };
            let labels = batch.label_pairs(&[(b"zpool", dataset.name(0)), (b"dataset", name)]);
            push_numbers(batch, &mut self.dataset_names, labels, text);
        }
        Ok(())
    }
}

/// Pushes the numbers of a text such as this; the first line tells of the kstat itself:
///
/// ```text
/// 13 1 0x01 123 33456 8007255140 354329591145385
/// name                            type data
/// hits                            4    8772612
/// ```
fn push_numbers(batch: &mut Batch, names: &mut Names, labels: LabelPairs, text: &[u8]) {
    let rows = lines(text).skip_while(|line| !is_head(line)).skip(1);
    for (place, line) in rows.enumerate() {
        if let Some(Some((name, number))) = batch.tolerate(parse_number(line)) {
            names.push(batch, place, name, labels, number);
        }
    }
}

/// Pushes a table that has the names in one line and the numbers in the next.
fn push_table(batch: &mut Batch, names: &mut Names, labels: LabelPairs, text: &[u8]) {
    let mut rows = lines(text).skip_while(|line| Fields::new(line).next() != Some(b"nread"));
    let (Some(head), Some(row)) = (rows.next(), rows.next()) else { return };
    let mut numbers = Fields::new(row);
    for (place, name) in Fields::new(head).enumerate() {
        let Some(number) = batch.tolerate(numbers.u64()) else { break };
        names.push(batch, place, name, labels, number as f64);
    }
}

fn is_head(line: &[u8]) -> bool {
    Fields::new(line).eq([&b"name"[..], b"type", b"data"])
}

/// The type of a number below zero or above (`KSTAT_DATA_INT64`, `KSTAT_DATA_UINT64`).
const SIGNED: &[u8] = b"3";
const UNSIGNED: &[u8] = b"4";

/// Takes the name and the number of `hits 4 8772612`; texts and others are no numbers.
fn parse_number(line: &[u8]) -> Result<Option<(&[u8], f64)>, Malformed> {
    let mut fields = Fields::new(line);
    let (Some(name), Some(kind)) = (fields.next(), fields.next()) else { return Ok(None) };
    match kind {
        UNSIGNED => fields.u64().map(|number| Some((name, number as f64))),
        SIGNED => fields.i64().map(|number| Some((name, number as f64))),
        _ => Ok(None),
    }
}

/// Takes the name of a dataset, which may have blanks in it: `dataset_name 7 pool/home of a b`.
fn dataset_name(text: &[u8]) -> Option<&[u8]> {
    lines(text).find_map(|line| {
        let mut fields = Fields::new(line);
        (fields.next() == Some(b"dataset_name")).then(|| fields.pass(1).rest())
    })
}

/// The names of families that begin alike, as they were met.
struct Names {
    prefix: &'static [u8],
    known: Vec<Name>,
}

struct Name {
    /// The number's name in the file.
    number: Box<[u8]>,
    /// The family's; none where it would not be one.
    family: Option<Box<[u8]>>,
    /// The family of this run.
    named: Option<NamedFamily>,
}

impl Names {
    fn new(prefix: &'static [u8]) -> Self {
        Names { prefix, known: Vec::new() }
    }

    /// Begins a run.
    fn begin(&mut self) {
        for name in &mut self.known {
            name.named = None;
        }
    }

    /// Pushes a number, the name of which is mostly at that place.
    fn push(
        &mut self,
        batch: &mut Batch,
        place: usize,
        number: &[u8],
        labels: LabelPairs,
        value: f64,
    ) {
        let name = self.find(place, number);
        let Some(family) = &name.family else { return };
        let named = *name.named.get_or_insert_with(|| {
            let help = [&b"The number "[..], number, b" that ZFS counts."];
            batch.family(&[family], Kind::Untyped, &help)
        });
        batch.push_named(named, Suffix::None, labels, value);
    }

    fn find(&mut self, place: usize, number: &[u8]) -> &mut Name {
        let is_same = |name: &Name| *name.number == *number;
        let place = match self.known.get(place) {
            Some(name) if is_same(name) => place,
            _ => self.known.iter().position(is_same).unwrap_or_else(|| {
                let mut family = [self.prefix, number].concat();
                family.iter_mut().filter(|byte| **byte == b'-').for_each(|byte| *byte = b'_');
                let family = is_metric_name(&family).then(|| family.into());
                self.known.push(Name { number: number.into(), family, named: None });
                self.known.len() - 1
            }),
        };
        &mut self.known[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const ZFS: &str = "proc/spl/kstat/zfs";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for (path, content) in [
            (
                "arcstats",
                "13 1 0x01 5 33456 8007255140 354329591145385\n\
                 name                            type data\n\
                 hits                            4    8772612\n\
                 memory_available_bytes          3    -922337203685\n\
                 a_text                          7    of no interest\n\
                 c_max                           4    18446744073709551615\n",
            ),
            ("fm", "0 1 0x01 4 192 1 2\nname type data\nerpt-dropped 4 18\nodd%name 4 1\n"),
            ("tank/state", "ONLINE\n"),
            (
                "tank/io",
                "12 3 0x00 1 80 79205351707403 395818011156865\n\
                 nread    nwritten reads    writes   wtime    wlentime wupdate  rtime    rlentime rupdate  wcnt     rcnt    \n\
                 1884160  3206144  22       132      7155162  104112268 79210489694949 24168078 104112268 79210489849220 0        0       \n",
            ),
            (
                "tank/objset-0x36",
                "23 1 0x01 7 2160 221578688875 6665999035587\n\
                 name                            type data\n\
                 dataset_name                    7    tank/home of  a\n\
                 writes                          4    4\n\
                 nunlinked                       4    3\n",
            ),
            (
                "tank/objset-0x40",
                "23 1 0x01 7 2160 221578688875 6665999035587\n\
                 name                            type data\n\
                 dataset_name                    7    tank\n\
                 writes                          4    9\n",
            ),
            ("old/state", "SUSPENDED\n"),
            ("dbgmsg", "timestamp    message\n"),
        ] {
            memory.write(format!("{ZFS}/{path}"), content);
        }
        memory
    }

    #[test]
    fn golden() {
        check::<Zfs>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_zfs_arc_c_max untyped
            node_zfs_arc_c_max 1.8446744073709552e+19
            # node_zfs_arc_hits untyped
            node_zfs_arc_hits 8.772612e+06
            # node_zfs_arc_memory_available_bytes untyped
            node_zfs_arc_memory_available_bytes -9.22337203685e+11
            # node_zfs_fm_erpt_dropped untyped
            node_zfs_fm_erpt_dropped 18
            # node_zfs_zpool_dataset_nunlinked untyped
            node_zfs_zpool_dataset_nunlinked{zpool="tank",dataset="tank/home of  a"} 3
            # node_zfs_zpool_dataset_writes untyped
            node_zfs_zpool_dataset_writes{zpool="tank",dataset="tank/home of  a"} 4
            node_zfs_zpool_dataset_writes{zpool="tank",dataset="tank"} 9
            # node_zfs_zpool_nread untyped
            node_zfs_zpool_nread{zpool="tank"} 1.88416e+06
            # node_zfs_zpool_nwritten untyped
            node_zfs_zpool_nwritten{zpool="tank"} 3.206144e+06
            # node_zfs_zpool_rcnt untyped
            node_zfs_zpool_rcnt{zpool="tank"} 0
            # node_zfs_zpool_reads untyped
            node_zfs_zpool_reads{zpool="tank"} 22
            # node_zfs_zpool_rlentime untyped
            node_zfs_zpool_rlentime{zpool="tank"} 1.04112268e+08
            # node_zfs_zpool_rtime untyped
            node_zfs_zpool_rtime{zpool="tank"} 2.4168078e+07
            # node_zfs_zpool_rupdate untyped
            node_zfs_zpool_rupdate{zpool="tank"} 7.921048984922e+13
            # node_zfs_zpool_state gauge
            node_zfs_zpool_state{zpool="old",state="online"} 0
            node_zfs_zpool_state{zpool="old",state="degraded"} 0
            node_zfs_zpool_state{zpool="old",state="faulted"} 0
            node_zfs_zpool_state{zpool="old",state="offline"} 0
            node_zfs_zpool_state{zpool="old",state="removed"} 0
            node_zfs_zpool_state{zpool="old",state="unavail"} 0
            node_zfs_zpool_state{zpool="old",state="suspended"} 1
            node_zfs_zpool_state{zpool="tank",state="online"} 1
            node_zfs_zpool_state{zpool="tank",state="degraded"} 0
            node_zfs_zpool_state{zpool="tank",state="faulted"} 0
            node_zfs_zpool_state{zpool="tank",state="offline"} 0
            node_zfs_zpool_state{zpool="tank",state="removed"} 0
            node_zfs_zpool_state{zpool="tank",state="unavail"} 0
            node_zfs_zpool_state{zpool="tank",state="suspended"} 0
            # node_zfs_zpool_wcnt untyped
            node_zfs_zpool_wcnt{zpool="tank"} 0
            # node_zfs_zpool_wlentime untyped
            node_zfs_zpool_wlentime{zpool="tank"} 1.04112268e+08
            # node_zfs_zpool_writes untyped
            node_zfs_zpool_writes{zpool="tank"} 132
            # node_zfs_zpool_wtime untyped
            node_zfs_zpool_wtime{zpool="tank"} 7.155162e+06
            # node_zfs_zpool_wupdate untyped
            node_zfs_zpool_wupdate{zpool="tank"} 7.9210489694949e+13
        "##]],
        );
    }

    #[test]
    fn bad_numbers_are_left_out_alone() {
        let memory = memory();
        let (whole, _) = run(&mut open::<Zfs>(&memory.host(), &[]), None);
        memory
            .write(format!("{ZFS}/arcstats"), "name type data\nhits 4 -1\nmisses 4\nx\n\ny 4 2\n");
        memory.write(format!("{ZFS}/tank/io"), "nread nwritten\n5 x 7\n");
        memory.write(format!("{ZFS}/fm"), "hits 4 1\n");
        let (batch, outcome) = run(&mut open::<Zfs>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(whole.len() - batch.len(), 14);
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(3));
    }

    #[test]
    fn pools_and_datasets_go_and_come() {
        let memory = memory();
        let mut collector = open::<Zfs>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.remove(format!("{ZFS}/tank/objset-0x40"));
        memory.remove(format!("{ZFS}/old"));
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert_eq!(whole.len() - batch.len(), 8);
        memory.write(format!("{ZFS}/new/state"), "degraded\n");
        memory.write(
            format!("{ZFS}/new/objset-0x1"),
            "name type data\ndataset_name 7 new\nreads 4 1\nwrites 4 2\n",
        );
        let (batch, outcome) = run(&mut collector, Some(&batch));
        outcome.unwrap();
        let page = render(&batch);
        assert!(page.contains("zpool_state{zpool=\"new\",state=\"degraded\"} 1"), "{page}");
        assert!(page.contains("dataset_writes{zpool=\"new\",dataset=\"new\"} 2"), "{page}");
    }

    #[test]
    fn many_datasets_are_read_to_their_ends() {
        let memory = memory();
        let page = || {
            let (batch, outcome) = run(&mut open::<Zfs>(&memory.host(), &[]), None);
            outcome.unwrap();
            render(&batch)
        };
        let at_once = page();
        memory.set_chunk(100);
        assert_eq!(page(), at_once);
    }

    #[test]
    fn a_host_without_zfs_is_said() {
        check_fails::<Zfs>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/spl/kstat/zfs: not on this host"],
            &expect![""],
        );
    }
}
