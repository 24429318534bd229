//! The cursor over sections serves the files for which it was made: mountstats, whose sections have
//! sections, and the tables of ZFS, which are below a heading.

use vitald_core::error::Malformed;
use vitald_core::text::{Fields, key_value, lines, sections};

/// As Linux 6 writes `/proc/self/mountstats` (fs/proc_namespace.c, fs/nfs/super.c, net/sunrpc/stats.c).
const MOUNTSTATS: &[u8] = b"\
device proc mounted on /proc with fstype proc
device nas:/export/home mounted on /home with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2,rsize=1048576,wsize=1048576,namlen=255,hard,proto=tcp,nconnect=2,timeo=600,retrans=2,sec=sys
\tage:\t86400
\tcaps:\tcaps=0xfffbc0bf,wtmult=512,dtsize=1048576,bsize=0,namlen=255
\tnfsv4:\tbm0=0xfdffbfff,bm1=0xf9be3e,bm2=0x68800,acl=0x3,sessions,pnfs=not configured
\tsec:\tflavor=1,pseudoflavor=1
\tevents:\t5 70 0 0 2 9 83 0 0 3 0 1 0 0 4 0 0 4 0 0 0 0 0 0 0 0 0
\tbytes:\t4096 512 0 0 8192 512 2 1
\tRPC iostats version: 1.1  p/v: 100003/4 (nfs)
\txprt:\ttcp 793 1 1 0 0 40 40 0 41 0 2 0 1
\txprt:\ttcp 921 1 1 0 0 39 38 1 40 0 2 0 1
\tper-op statistics
\t        NULL: 2 2 0 88 48 0 0 0 0
\t        READ: 31 31 0 6944 8504320 1 52 54 0
\t       WRITE: 7 8 1 2000 952 0 x 14 2

device nas:/export/scratch mounted on /scratch\\040area with fstype nfs statvers=1.1
\tage:\t60
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 0 0 0
";

#[derive(Debug, PartialEq)]
struct Mount<'a> {
    export: &'a [u8],
    age: u64,
    transports: usize,
    /// Each operation with its requests and the milliseconds that they waited for an answer.
    operations: Vec<(&'a [u8], u64, u64)>,
}

/// Takes the counts of `READ: 31 31 0 6944 8504320 1 52 54 0`.
fn operation(line: &[u8]) -> Result<(&[u8], u64, u64), Malformed> {
    let mut fields = Fields::new(line);
    let name = fields.text()?;
    let name = name.strip_suffix(b":").ok_or(Malformed::new(0, "a colon"))?;
    Ok((name, fields.u64()?, fields.pass(5).u64()?))
}

/// Takes NFS mounts, and of each its operations, with the place of every bad line in the text.
fn mounts(text: &[u8]) -> (Vec<Mount<'_>>, Vec<Malformed>) {
    let (mut mounts, mut bad) = (Vec::new(), Vec::new());
    for mount in sections(text, |line| line.starts_with(b"device ")) {
        let mut words = Fields::new(mount.head);
        let export = words.nth(1).unwrap_or_default();
        if !words.nth(5).is_some_and(|kind| kind == b"nfs" || kind == b"nfs4") {
            continue;
        }
        let attributes = || lines(mount.body).filter_map(|line| key_value(line, b':'));
        let age = attributes().find(|(key, _)| *key == b"age");
        let mut operations = Vec::new();
        for list in sections(mount.body, |line| line == b"\tper-op statistics") {
            let mut rows = lines(list.body);
            while let Some(row) = rows.next() {
                if row.is_empty() {
                    continue;
                }
                let offset = mount.offset + list.offset + rows.offset();
                match operation(row) {
                    Ok(operation) => operations.push(operation),
                    Err(malformed) => bad.push(malformed.moved_by(offset)),
                }
            }
        }
        mounts.push(Mount {
            export,
            age: age.and_then(|(_, age)| Fields::new(age).u64().ok()).unwrap_or_default(),
            transports: attributes().filter(|(key, _)| *key == b"xprt").count(),
            operations,
        });
    }
    (mounts, bad)
}

#[test]
fn mountstats_have_sections_in_sections() {
    let (found, bad) = mounts(MOUNTSTATS);
    assert_eq!(
        found,
        [
            Mount {
                export: b"nas:/export/home",
                age: 86_400,
                transports: 2,
                operations: vec![(b"NULL", 2, 0), (b"READ", 31, 52)],
            },
            Mount {
                export: b"nas:/export/scratch",
                age: 60,
                transports: 0,
                operations: vec![(b"NULL", 1, 0)],
            },
        ]
    );
    let x = MOUNTSTATS.windows(3).position(|part| part == b" x ").expect("there is a bad field");
    assert_eq!(bad, [Malformed::new(x + 1, "a number")]);
}

#[test]
fn a_cut_costs_only_the_last_section() {
    let (whole, _) = mounts(MOUNTSTATS);
    for end in 0..MOUNTSTATS.len() {
        let (found, _) = mounts(&MOUNTSTATS[..end]);
        let complete = found.len().saturating_sub(1);
        assert_eq!(found[..complete], whole[..complete], "cut at {end}");
    }
}

/// As OpenZFS writes `/proc/spl/kstat/zfs/arcstats` (module/os/linux/spl/spl-kstat.c): a line about the table,
/// its columns, its rows.
const ARCSTATS: &[u8] = b"\
9 1 0x01 123 33456 8012345678 9123456789012
name                            type data
hits                            4    771230
misses                          4    9012
size                            4    4294967296
";

/// As `/proc/spl/kstat/zfs/POOL/io`: one row under the names of its columns.
const POOL_IO: &[u8] = b"\
12 3 0x00 1 80 8012345678 9123456789012
nread    nwritten reads    writes   wtime    wlentime wupdate  rtime    rlentime rupdate  wcnt     rcnt
1884160  3206144  22       132      7155162  104112268 7921048 24168078 104112268 7921049 0        0
";

#[test]
fn tables_of_zfs_are_below_a_heading() {
    let mut tables = sections(ARCSTATS, |line| line.starts_with(b"name "));
    let table = tables.next().expect("the table begins with the names of its columns");
    let rows: Vec<(&[u8], u64)> = lines(table.body)
        .filter_map(|line| {
            let mut fields = Fields::new(line);
            Some((fields.text().ok()?, fields.pass(1).u64().ok()?))
        })
        .collect();
    assert_eq!(rows, [(&b"hits"[..], 771_230), (b"misses", 9_012), (b"size", 4_294_967_296)]);
    assert_eq!(tables.next(), None);

    let mut tables = sections(POOL_IO, |line| line.starts_with(b"nread "));
    let table = tables.next().expect("the table begins with the names of its columns");
    let row = lines(table.body).next().unwrap_or_default();
    let columns: Vec<(&[u8], u64)> = Fields::new(table.head)
        .zip(Fields::new(row))
        .filter_map(|(name, value)| Some((name, Fields::new(value).u64().ok()?)))
        .collect();
    assert_eq!(columns.len(), 12);
    assert_eq!(columns[1], (&b"nwritten"[..], 3_206_144));
}
