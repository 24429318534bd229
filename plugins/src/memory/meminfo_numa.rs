//! Memory of each NUMA node, from `/sys/devices/system/node/node*/meminfo` and `numastat`
//! (Documentation/ABI/stable/sysfs-devices-node, Documentation/admin-guide/numastat.rst).

use vitald_core::prelude::*;

attributes! {
    Node {
        MEMINFO: text = "meminfo";
        NUMASTAT: text = "numastat";
    }
}

register_collector!(MeminfoNuma);

struct MeminfoNuma {
    nodes: Walk<Node>,
}

impl Collector for MeminfoNuma {
    about! {
        name: "meminfo_numa",
        summary: "Memory of each NUMA node",
        patterns: [FamilyPattern {
            name: "node_memory_numa_*",
            kinds: &[Kind::Gauge, Kind::Counter],
            help: "A field of a node's meminfo, in bytes or a count, or of its numastat, in pages.",
        }],
        sources: [
            "sys/devices/system/node/node*/meminfo",
            "sys/devices/system/node/node*/numastat",
        ],
    }
    const ENABLED: bool = false;
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        let is_node = |name: &[u8]| name.get(4).is_some_and(u8::is_ascii_digit);
        Ok(MeminfoNuma { nodes: host.walk("sys/devices/system/node/node*").only(0, is_node) })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for node in self.nodes.refresh()? {
            for line in lines(node.text(&Node::MEMINFO)?) {
                if let Some(field) = batch.tolerate(parse_meminfo(line)) {
                    field.push(batch, node.star(0));
                }
            }
            for line in lines(node.text(&Node::NUMASTAT)?) {
                if let Some(field) = batch.tolerate(parse_numastat(line)) {
                    field.push(batch, node.star(0));
                }
            }
        }
        Ok(())
    }
}

/// A field of either file; the name of its metric is in two parts.
#[derive(Debug)]
struct Field<'a> {
    name: [&'a [u8]; 3],
    kind: Kind,
    value: f64,
}

impl Field<'_> {
    fn push(&self, batch: &mut Batch, node: &[u8]) {
        let [first, between, last] = self.name;
        let name = [b"node_memory_numa_", first, between, last];
        let help = [b"Field ", first, between, last, b" of a NUMA node."];
        let family = batch.family(&name, self.kind, &help);
        let labels = batch.label_pairs(&[(b"node", node)]);
        batch.push_named(family, Suffix::None, labels, self.value);
    }
}

/// Takes name and value of `Node 0 Active(anon):       1780 kB`, where the unit may be missing.
fn parse_meminfo(line: &[u8]) -> Result<Field<'_>, Malformed> {
    let mut fields = Fields::new(line);
    let name = fields.pass(2).text()?;
    let start = fields.offset() - name.len();
    let value = fields.f64()?;
    let factor = match fields.next() {
        None => 1.0,
        Some(b"kB") => 1024.0,
        Some(unit) => return Err(Malformed::new(fields.offset() - unit.len(), "kB")),
    };
    let name = name.strip_suffix(b":").unwrap_or(name);
    // Active(anon) is shown as Active_anon.
    let name = match text::split_once(name, b'(') {
        Some((before, inside)) => [before, b"_", inside.strip_suffix(b")").unwrap_or(inside)],
        None => [name, b"", b""],
    };
    named(name, start)?;
    Ok(Field { name, kind: Kind::Gauge, value: value * factor })
}

/// Takes name and value of `interleave_hit 1107`.
fn parse_numastat(line: &[u8]) -> Result<Field<'_>, Malformed> {
    let mut fields = Fields::new(line);
    let name = [fields.text()?, b"_total", b""];
    named(name, 0)?;
    Ok(Field { name, kind: Kind::Counter, value: fields.f64()? })
}

/// Refuses what the name of a metric cannot have in it.
fn named(parts: [&[u8]; 3], at: usize) -> Result<(), Malformed> {
    let mut bytes = parts.iter().copied().flatten();
    let is_name = bytes.all(|byte| *byte == b'_' || byte.is_ascii_alphanumeric());
    if is_name && !parts[0].is_empty() { Ok(()) } else { Err(Malformed::new(at, "a name")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[
            (
                "sys/devices/system/node/node0/meminfo",
                "Node 0 MemTotal:       24684092 kB\n\
                 Node 0 Active(anon):       1780 kB\n\
                 Node 0 HugePages_Total:     3\n",
            ),
            ("sys/devices/system/node/node0/numastat", "numa_hit 346259493\ninterleave_hit 1107\n"),
            ("sys/devices/system/node/node10/meminfo", "Node 10 MemTotal: 8 kB\n"),
            ("sys/devices/system/node/node10/numastat", "numa_hit 5\n"),
            ("sys/devices/system/node/online", "0,10\n"),
        ])
    }

    #[test]
    fn golden() {
        check::<MeminfoNuma>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_memory_numa_Active_anon gauge
                node_memory_numa_Active_anon{node="0"} 1.82272e+06
                # node_memory_numa_HugePages_Total gauge
                node_memory_numa_HugePages_Total{node="0"} 3
                # node_memory_numa_MemTotal gauge
                node_memory_numa_MemTotal{node="0"} 2.5276510208e+10
                node_memory_numa_MemTotal{node="10"} 8192
                # node_memory_numa_interleave_hit_total counter
                node_memory_numa_interleave_hit_total{node="0"} 1107
                # node_memory_numa_numa_hit_total counter
                node_memory_numa_numa_hit_total{node="0"} 3.46259493e+08
                node_memory_numa_numa_hit_total{node="10"} 5
            "#]],
        );
    }

    /// A node goes off line with its memory, and comes back.
    #[test]
    fn a_node_that_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<MeminfoNuma>(&memory.host(), &[]);
        let (both, _) = run(&mut collector, None);
        memory.remove("sys/devices/system/node/node10");
        let (one, _) = run(&mut collector, Some(&both));
        memory.write("sys/devices/system/node/node10/meminfo", "Node 10 MemTotal: 8 kB\n");
        memory.write("sys/devices/system/node/node10/numastat", "numa_hit 0\n");
        let (again, _) = run(&mut collector, Some(&one));
        assert_eq!([both.len(), one.len(), again.len()], [7, 5, 7]);
    }

    #[test]
    fn odd_lines_are_left_out() {
        let memory = memory();
        memory.write(
            "sys/devices/system/node/node10/meminfo",
            "Node 10 MemTotal: 8 MB\nNode 10\nNode 10 a-b: 1\nNode 10 Mlocked: x kB\nNode 10 Slab: 1 kB\n",
        );
        let (batch, outcome) = run(&mut open::<MeminfoNuma>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 7);
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(4));
    }

    /// The kernel was built without CONFIG_NUMA.
    #[test]
    fn absent_is_an_error() {
        check_fails::<MeminfoNuma>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/devices/system/node: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(
            parse_meminfo,
            &["", "Node 0", "Node 0 A:", "Node 0 A: x", "Node 0 : 1", "Node 0 A: 1 B"],
        );
        rejects(parse_numastat, &["", "numa_hit", "numa_hit x", "numa-hit 1"]);
    }
}
