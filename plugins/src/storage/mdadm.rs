//! Software RAID, from `/proc/mdstat` (md(4)) and `/sys/block/md*/md`
//! (Documentation/admin-guide/md.rst).

use vitald_core::host::DeviceEvents;
use vitald_core::number::parse_u64;
use vitald_core::prelude::*;

families! {
    /// Whether an array is in this state.
    STATE: gauge = "node_md_state" [device, state];
    /// Disks of an array that are in this state.
    DISKS: gauge = "node_md_disks" [device, state];
    /// Disks that an array is made for, by `/proc/mdstat`; 0 while it is not active.
    REQUIRED_DISKS: gauge = "node_md_disks_required" [device];
    /// The size of an array, in blocks of 1,024 bytes.
    BLOCKS: gauge = "node_md_blocks" [device];
    /// Blocks of an array that are in sync, or have been gone through while it is checked or rebuilt.
    SYNCED_BLOCKS: gauge = "node_md_blocks_synced" [device];
    /// Disks that an array is made for, by its directory in sysfs.
    RAID_DISKS: gauge = "node_md_raid_disks" [device];
    /// Disks that an array lacks.
    DEGRADED: gauge = "node_md_degraded" [device];
}

attributes! {
    Array {
        // While an array is reshaped, the old number follows.
        DISKS: first_f64 = "md/raid_disks";
        // Arrays that no disk may be missing from do not have it.
        DEGRADED: u64 = "md/degraded", optional;
    }
}

register_collector!(Mdadm);

struct Mdadm {
    /// The file comes with a module, and arrays are devices.
    events: DeviceEvents,
    file: KeptFile,
    arrays: Walk<Array>,
}

impl Collector for Mdadm {
    about! {
        name: "mdadm",
        summary: "Software RAID: arrays, their disks and how far they are in sync",
        families: FAMILIES,
        sources: ["proc/mdstat", "sys/block/md*/md/raid_disks", "sys/block/md*/md/degraded", "sys/kernel/uevent_seqnum"],
    }
    const CHARTS: &'static [Chart] = &[Chart::by(
        &["device"],
        "Arrays",
        &[
            Curve::each("state", value("node_md_disks")),
            Curve::of("needed", value("node_md_disks_required")),
            Curve::of(
                "in step",
                Figure::Ratio(&value("node_md_blocks_synced"), &value("node_md_blocks")),
            ),
        ],
    )];

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Mdadm {
            events: host.device_events(),
            file: host.keep("proc/mdstat"),
            arrays: host.walk("sys/block/md*"),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let number = self.events.number(batch.fresh_from());
        let text = self.file.under(number).read()?;
        for section in text::sections(text, begins) {
            if let Some(status) = batch.tolerate(Status::parse(section.head, section.body)) {
                push(batch, &status);
            }
        }
        for array in self.arrays.under_events(number).optional()? {
            let labels = batch.labels([array.name(0)]);
            array.push(batch, &RAID_DISKS, labels, &Array::DISKS)?;
            if let Some(degraded) = array.number_or(&Array::DEGRADED, 0.0, batch)? {
                batch.push(&DEGRADED, labels, degraded);
            }
        }
        Ok(())
    }
}

fn push(batch: &mut Batch, status: &Status<'_>) {
    let device = status.device;
    for state in [&b"active"[..], b"inactive", b"recovering", b"resync", b"check"] {
        batch.row(&STATE, [device, state], status.state == state);
    }
    for (state, count) in
        [(&b"active"[..], status.active), (b"failed", status.failed), (b"spare", status.spare)]
    {
        batch.row(&DISKS, [device, state], count);
    }
    let labels = batch.labels([device]);
    batch.push(&REQUIRED_DISKS, labels, status.required);
    batch.push(&BLOCKS, labels, status.blocks);
    batch.push(&SYNCED_BLOCKS, labels, status.synced);
}

/// Whether a line begins an array: the others are indented or tell of all arrays.
fn begins(line: &[u8]) -> bool {
    !text::trim(line).is_empty()
        && !line.starts_with(b" ")
        && !line.starts_with(b"Personalities")
        && !line.starts_with(b"unused")
}

/// What the file says of an array.
#[derive(Debug, PartialEq)]
struct Status<'t> {
    device: &'t [u8],
    /// One of those shown, or another word of the kernel's.
    state: &'t [u8],
    active: u64,
    failed: u64,
    spare: u64,
    required: u64,
    blocks: u64,
    synced: u64,
}

impl<'t> Status<'t> {
    /// Takes `md6 : active raid1 sdb2[2](F) sdc[1](S) sda2[0]` and the lines that follow:
    ///
    /// ```text
    ///       195310144 blocks [2/1] [U_]
    ///       [=>...................]  recovery =  8.5% (16775552/195310144) finish=17.0min speed=259783K/sec
    ///       bitmap: 0/2 pages [0KB], 65536KB chunk
    /// ```
    fn parse(head: &'t [u8], body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(head);
        let device = fields.text()?;
        let state = fields.pass(1).text()?;
        let mut rows = lines(body);
        let sizes = rows.next().unwrap_or_default();
        let blocks = Fields::new(sizes).u64().map_err(|error| error.moved_by(head.len() + 1))?;
        let has_parts = contains(head, b"raid0") || contains(head, b"linear");
        let (required, active) = if has_parts {
            let disks = head.iter().filter(|byte| **byte == b'[').count() as u64;
            (disks, disks)
        } else if state == b"inactive" {
            (0, 0)
        } else {
            disks(sizes).ok_or(Malformed::new(head.len() + 1, "[4/3] [UU_U]"))?
        };
        // The bitmap is shown before or after what goes on.
        let activity = rows.find(|line| !contains(line, b"bitmap")).unwrap_or_default();
        let (state, synced) = match Activity::of(activity) {
            None => (state, blocks),
            Some(activity) => {
                (activity.state, activity.synced.ok_or(Malformed::new(head.len() + 1, "(1/2)"))?)
            }
        };
        let (failed, spare) = (count(head, b"(F)"), count(head, b"(S)"));
        Ok(Status { device, state, active, failed, spare, required, blocks, synced })
    }
}

/// Takes the last `[4/3] [UU_U]` of a line: disks that there should be, and those that work.
fn disks(line: &[u8]) -> Option<(u64, u64)> {
    let mut fields = Fields::new(line).skip_while(|field| *field != b"blocks").skip(1);
    let mut before: &[u8] = b"";
    let counts = fields.by_ref().find_map(|field| {
        let counts = std::mem::replace(&mut before, field);
        let is_map = bracketed(field)?.iter().all(|byte| matches!(byte, b'U' | b'_'));
        is_map.then(|| bracketed(counts)).flatten()
    })?;
    let (required, active) = text::split_once(counts, b'/')?;
    Some((parse_u64(required)?, parse_u64(active)?))
}

fn bracketed(field: &[u8]) -> Option<&[u8]> {
    field.strip_prefix(b"[")?.strip_suffix(b"]").filter(|inner| !inner.is_empty())
}

/// What goes on with an array.
struct Activity {
    /// As node_exporter names it; what it does not show is a state of its own.
    state: &'static [u8],
    /// The blocks gone through; none where the line does not say.
    synced: Option<u64>,
}

impl Activity {
    fn of(line: &[u8]) -> Option<Self> {
        let known: [(&[u8], &[u8]); 4] = [
            (b"recovery", b"recovering"),
            (b"reshape", b"reshaping"),
            (b"check", b"check"),
            (b"resync", b"resync"),
        ];
        let (_, state) = known.into_iter().find(|(word, _)| contains(line, word))?;
        let has_not_begun = contains(line, b"PENDING") || contains(line, b"DELAYED");
        let synced = if has_not_begun { Some(0) } else { progress(line) };
        Some(Activity { state, synced })
    }
}

/// Takes the first number of `(16775552/195310144)`.
fn progress(line: &[u8]) -> Option<u64> {
    let counts =
        Fields::new(line).find_map(|field| field.strip_prefix(b"(")?.strip_suffix(b")"))?;
    let (done, all) = text::split_once(counts, b'/')?;
    parse_u64(all).and(parse_u64(done))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    count(text, word) > 0
}

fn count(text: &[u8], word: &[u8]) -> u64 {
    text.windows(word.len()).filter(|window| *window == word).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const MDSTAT: &str = "Personalities : [raid1] [raid0] [raid6] [raid5] [raid4]\n\
        md127 : active raid5 sde1[4](F) sdd1[3] sdc1[1] sdb1[0] sdf1[5](S)\n\
        \x20     2929890816 blocks super 1.2 level 5, 512k chunk, algorithm 2 [3/2] [UU_]\n\
        \x20     [==>..................]  recovery = 12.6% (123456789/976630272) finish=112.1min speed=126853K/sec\n\
        \x20     bitmap: 2/8 pages [8KB], 65536KB chunk\n\
        \n\
        md1 : active (auto-read-only) raid1 nvme1n1p2[1] nvme0n1p2[0]\n\
        \x20     523264 blocks super 1.2 [2/2] [UU]\n\
        \x20     bitmap: 0/1 pages [0KB], 65536KB chunk\n\
        \x20     resync=PENDING\n\
        \n\
        md0 : active raid0 sdh[1] sdg[0]\n\
        \x20     7813770240 blocks super 1.2 512k chunks\n\
        \n\
        md9 : inactive sdz[0](S)\n\
        \x20     1953382488 blocks super 1.2\n\
        \x20      \n\
        unused devices: <none>\n";

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[
            ("proc/mdstat", MDSTAT),
            ("sys/block/md127/md/raid_disks", "4 (3)\n"),
            ("sys/block/md127/md/degraded", "1\n"),
            ("sys/block/md0/md/raid_disks", "2\n"),
            ("sys/block/sda/size", "1\n"),
        ])
    }

    #[test]
    fn golden() {
        check::<Mdadm>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_md_blocks gauge
            node_md_blocks{device="md127"} 2.929890816e+09
            node_md_blocks{device="md1"} 523264
            node_md_blocks{device="md0"} 7.81377024e+09
            node_md_blocks{device="md9"} 1.953382488e+09
            # node_md_blocks_synced gauge
            node_md_blocks_synced{device="md127"} 1.23456789e+08
            node_md_blocks_synced{device="md1"} 0
            node_md_blocks_synced{device="md0"} 7.81377024e+09
            node_md_blocks_synced{device="md9"} 1.953382488e+09
            # node_md_degraded gauge
            node_md_degraded{device="md0"} 0
            node_md_degraded{device="md127"} 1
            # node_md_disks gauge
            node_md_disks{device="md127",state="active"} 2
            node_md_disks{device="md127",state="failed"} 1
            node_md_disks{device="md127",state="spare"} 1
            node_md_disks{device="md1",state="active"} 2
            node_md_disks{device="md1",state="failed"} 0
            node_md_disks{device="md1",state="spare"} 0
            node_md_disks{device="md0",state="active"} 2
            node_md_disks{device="md0",state="failed"} 0
            node_md_disks{device="md0",state="spare"} 0
            node_md_disks{device="md9",state="active"} 0
            node_md_disks{device="md9",state="failed"} 0
            node_md_disks{device="md9",state="spare"} 1
            # node_md_disks_required gauge
            node_md_disks_required{device="md127"} 3
            node_md_disks_required{device="md1"} 2
            node_md_disks_required{device="md0"} 2
            node_md_disks_required{device="md9"} 0
            # node_md_raid_disks gauge
            node_md_raid_disks{device="md0"} 2
            node_md_raid_disks{device="md127"} 4
            # node_md_state gauge
            node_md_state{device="md127",state="active"} 0
            node_md_state{device="md127",state="inactive"} 0
            node_md_state{device="md127",state="recovering"} 1
            node_md_state{device="md127",state="resync"} 0
            node_md_state{device="md127",state="check"} 0
            node_md_state{device="md1",state="active"} 0
            node_md_state{device="md1",state="inactive"} 0
            node_md_state{device="md1",state="recovering"} 0
            node_md_state{device="md1",state="resync"} 1
            node_md_state{device="md1",state="check"} 0
            node_md_state{device="md0",state="active"} 1
            node_md_state{device="md0",state="inactive"} 0
            node_md_state{device="md0",state="recovering"} 0
            node_md_state{device="md0",state="resync"} 0
            node_md_state{device="md0",state="check"} 0
            node_md_state{device="md9",state="active"} 0
            node_md_state{device="md9",state="inactive"} 1
            node_md_state{device="md9",state="recovering"} 0
            node_md_state{device="md9",state="resync"} 0
            node_md_state{device="md9",state="check"} 0
        "##]],
        );
    }

    fn parse(text: &str) -> Result<(String, [u64; 6]), Malformed> {
        let (head, body) = text.split_once('\n').unwrap_or((text, ""));
        let status = Status::parse(head.as_bytes(), body.as_bytes())?;
        let Status { state, active, failed, spare, required, blocks, synced, .. } = status;
        let state = String::from_utf8_lossy(state).into_owned();
        Ok((state, [active, failed, spare, required, blocks, synced]))
    }

    #[test]
    fn what_goes_on_is_the_state() {
        let of = |line: &str| {
            let status =
                parse(&format!("md0 : active raid1 a[0] b[1]\n 9 blocks [2/2] [UU]\n{line}\n"));
            status.map(|(state, numbers)| (state, numbers[5])).unwrap()
        };
        assert_eq!(of(" [>...]  check =  0.0% (4/9) finish=1min"), ("check".into(), 4));
        assert_eq!(of(" [>...]  resync =  0.0% (5/9) finish=1min"), ("resync".into(), 5));
        assert_eq!(of(" [>...]  reshape =  0.0% (6/9) finish=1min"), ("reshaping".into(), 6));
        assert_eq!(of("      resync=DELAYED"), ("resync".into(), 0));
        assert_eq!(of("      "), ("active".into(), 9));
        assert_eq!(of("      bitmap: 0/1 pages [0KB]"), ("active".into(), 9));
    }

    #[test]
    fn kinds_of_arrays() {
        let numbers = |text: &str| parse(text).unwrap().1;
        assert_eq!(
            numbers("md0 : active linear b[1] a[0]\n 7 blocks 0k rounding"),
            [2, 0, 0, 2, 7, 7]
        );
        assert_eq!(
            numbers("md0 : inactive raid1 a[0](F) b[1](S)\n 7 blocks [2/2] [UU]"),
            [0, 1, 1, 0, 7, 7]
        );
        assert_eq!(
            numbers(
                "md0 : active raid10 a[0]\n 7 blocks super 1.2 64K chunks 2 near-copies [4/1] [U___]"
            ),
            [1, 0, 0, 4, 7, 7]
        );
        assert_eq!(parse("md0 : broken raid1 a[0]\n 7 blocks [2/1] [U_]").unwrap().0, "broken");
    }

    #[test]
    fn refuses_bad_texts() {
        for text in [
            "",
            "md0",
            "md0 : active",
            "md0 : active raid1 a[0]\n",
            "md0 : active raid1 a[0]\n blocks [2/1] [U_]",
            "md0 : active raid1 a[0]\n 7 blocks [2/1]",
            "md0 : active raid1 a[0]\n 7 blocks [2] [UU]",
            "md0 : active raid1 a[0]\n 7 blocks [x/1] [UU]",
            "md0 : active raid1 a[0]\n 7 blocks [2/2] [UU]\n recovery = 1% (x/9)",
        ] {
            assert!(parse(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_bad_array_costs_only_itself() {
        let memory = memory();
        memory.write("proc/mdstat", MDSTAT.replace("[3/2] [UU_]", "[3/2]"));
        let (batch, outcome) = run(&mut open::<Mdadm>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.malformed().map(|(count, _)| count)), (37, Some(1)));
    }

    #[test]
    fn an_array_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Mdadm>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.write("proc/mdstat", "Personalities : \nunused devices: <none>\n");
        memory.remove("sys/block/md127");
        memory.remove("sys/block/md0");
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert_eq!((whole.len(), batch.len()), (48, 0));
        memory.write("proc/mdstat", MDSTAT);
        assert_eq!(run(&mut collector, Some(&batch)).0.len(), 44);
    }

    #[test]
    fn a_host_without_it_is_said() {
        check_fails::<Mdadm>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/mdstat: not on this host"],
            &expect![""],
        );
    }
}
