//! The values of chosen sysctls, from `/proc/sys` (sysctl(8)).

use std::io;
use vitald_core::number::parse_integer;
use vitald_core::prelude::*;
use vitald_core::text::decimal;

families! {
    /// A value of a sysctl that is a text, by its place among the values; always 1.
    INFO: gauge = "node_sysctl_info" [name, value, index];
}

settings! {
    /// Sysctls whose values are whole numbers, such as `fs.file-nr`; with names for several values
    /// behind a colon, as in `fs.file-nr:total,current,max`.
    include: Vec<String> = [""; 0];
    /// Sysctls whose values are texts, such as `kernel.seccomp.actions_avail`.
    include_info: Vec<String> = [""; 0];
}

register_collector!(Sysctl);

struct Sysctl {
    numbers: Vec<Numbers>,
    texts: Vec<Texts>,
}

struct Numbers {
    file: KeptFile,
    name: Box<[u8]>,
    /// The name as a part of a metric's name.
    metric: Box<[u8]>,
    keys: Vec<Box<[u8]>>,
}

struct Texts {
    file: KeptFile,
    name: Box<[u8]>,
}

impl Collector for Sysctl {
    about! {
        name: "sysctl",
        summary: "The values of chosen sysctls",
        families: FAMILIES,
        patterns: [FamilyPattern {
            name: "node_sysctl_*",
            kinds: &[Kind::Untyped],
            help: "A value of a sysctl, or one of several, which have a label `index` or a name each.",
        }],
        sources: [
            "proc/sys/*/*",
            "proc/sys/*/*/*",
            "proc/sys/*/*/*/*",
            "proc/sys/*/*/*/*/*",
        ],
        settings: Settings,
    }
    const ENABLED: bool = false;

    fn check(settings: &Settings) -> Result<()> {
        for include in &settings.include {
            let (name, keys) = include.split_once(':').unwrap_or((include, ""));
            check_name("include", name)?;
            let is_key = |key: &str| {
                !key.is_empty()
                    && key.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
            };
            if include.contains(':') && !keys.split(',').all(is_key) {
                let message = format!(
                    "\"{include}\": the names behind the colon are made of letters, digits and _, \
                     with commas between"
                );
                return Err(Error::setting("include", message));
            }
        }
        for include in &settings.include_info {
            if include.contains(':') {
                let message = format!("\"{include}\": values that are texts take no names");
                return Err(Error::setting("include_info", message));
            }
            check_name("include_info", include)?;
        }
        Ok(())
    }

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let numbers = settings.include.iter().map(|include| {
            let (name, keys) = include.split_once(':').unwrap_or((include, ""));
            let keys = keys.split(',').filter(|key| !key.is_empty());
            Numbers {
                file: host.keep_whole(path(name)),
                name: name.as_bytes().into(),
                metric: name.bytes().map(in_metric).collect(),
                keys: keys.map(|key| key.as_bytes().into()).collect(),
            }
        });
        let texts = settings
            .include_info
            .iter()
            .map(|name| Texts { file: host.keep_whole(path(name)), name: name.as_bytes().into() });
        Ok(Sysctl { numbers: numbers.collect(), texts: texts.collect() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        // One that cannot be read is no reason to leave out the others, and each is reported.
        let (mut first, mut is_any_read) = (None, false);
        let mut take = |outcome: Result<()>, batch: &mut Batch| match outcome {
            Ok(()) => is_any_read = true,
            Err(error) if first.is_none() => first = Some(error),
            Err(error) => batch.fault("", error),
        };
        for numbers in &mut self.numbers {
            take(numbers.push(batch), batch);
        }
        for texts in &mut self.texts {
            take(texts.push(batch), batch);
        }
        match first {
            None => Ok(()),
            // The host has sysctls, and not this one: a name that is wrong.
            Some(Error::Absent { path }) if is_any_read => {
                Err(Error::Unreadable { path, source: io::Error::other("there is no such sysctl") })
            }
            Some(error) => Err(error),
        }
    }
}

impl Numbers {
    fn push(&mut self, batch: &mut Batch) -> Result<()> {
        let Numbers { file, name, metric, keys } = self;
        file.parse(|text| {
            let count = parse_all(text)?;
            if !keys.is_empty() && (count != keys.len() || count == 1) {
                let expected = "as many numbers as there are names, and more than one";
                return Err(Malformed::new(0, expected));
            }
            let help: [&[u8]; 3] = [b"The sysctl ", name, b"."];
            let name: [&[u8]; 2] = [b"node_sysctl_", metric];
            let values = words(text).filter_map(parse_integer);
            if !keys.is_empty() {
                for (value, key) in values.zip(keys) {
                    let name: [&[u8]; 4] = [name[0], name[1], b"_", key];
                    batch.named_value(&name, Kind::Untyped, &help, value);
                }
            } else if count == 1 {
                values.for_each(|value| batch.named_value(&name, Kind::Untyped, &help, value));
            } else {
                let family = batch.family(&name, Kind::Untyped, &help);
                for (index, value) in values.enumerate() {
                    let mut room = [0; 20];
                    let labels = batch.label_pairs(&[(b"index", decimal(index as u64, &mut room))]);
                    batch.push_named(family, Suffix::None, labels, value);
                }
            }
            Ok(())
        })
    }
}

impl Texts {
    fn push(&mut self, batch: &mut Batch) -> Result<()> {
        let Texts { file, name } = self;
        file.parse(|text| {
            let mut is_empty = true;
            for (index, value) in words(text).enumerate() {
                batch.row(&INFO, [name, value, decimal(index as u64, &mut [0; 20])], 1);
                is_empty = false;
            }
            if is_empty { Err(Malformed::new(0, "a value")) } else { Ok(()) }
        })
    }
}

/// The values of a sysctl, with blanks, tabs or line ends between.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// How many values there are, which are all whole numbers.
fn parse_all(text: &[u8]) -> Result<usize, Malformed> {
    let (mut count, mut at) = (0, 0);
    for word in text.split(u8::is_ascii_whitespace) {
        if !word.is_empty() {
            parse_integer(word).ok_or(Malformed::new(at, "a whole number"))?;
            count += 1;
        }
        at += word.len() + 1;
    }
    if count == 0 { Err(Malformed::new(0, "a whole number")) } else { Ok(count) }
}

/// The file of a sysctl: dots separate its parts, as in node_exporter, also where a part has a dot.
fn path(name: &str) -> String {
    format!("proc/sys/{}", name.replace('.', "/"))
}

fn check_name(key: &'static str, name: &str) -> Result<()> {
    let is_part = |part: &str| !part.is_empty() && !part.contains('\0');
    if name.split(['.', '/']).all(is_part) {
        Ok(())
    } else {
        let message = format!("\"{name}\" is not the name of a sysctl, such as \"fs.file-nr\"");
        Err(Error::setting(key, message))
    }
}

fn in_metric(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() || byte == b':' { byte } else { b'_' }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[
            ("proc/sys/fs/file-nr", "1024\t0\t1631329\n"),
            ("proc/sys/kernel/threads-max", "7801\n"),
            ("proc/sys/kernel/shmmax", "18446744073692774399\n"),
            ("proc/sys/kernel/sched_rt_runtime_us", "-1\n"),
            ("proc/sys/kernel/seccomp/actions_avail", "kill trap\n"),
            ("proc/sys/net/ipv4/tcp_congestion_control", "cubic\n"),
            ("proc/sys/net/ipv4/conf/eth0/rp_filter", "2\n"),
            ("proc/sys/kernel/domainname", "\n"),
        ])
    }

    fn list<const N: usize>(items: [&str; N]) -> Node {
        items.into()
    }

    #[test]
    fn golden() {
        check::<Sysctl>(
            &memory().host(),
            &[
                (
                    "include",
                    list([
                        "fs.file-nr",
                        "fs.file-nr:total,current,max",
                        "kernel.shmmax",
                        "kernel.threads-max",
                        "kernel.sched_rt_runtime_us",
                        "net.ipv4.conf.eth0.rp_filter",
                    ]),
                ),
                (
                    "include_info",
                    list(["kernel.seccomp.actions_avail", "net.ipv4.tcp_congestion_control"]),
                ),
            ],
            &expect![[r#"
                # node_sysctl_fs_file_nr untyped
                node_sysctl_fs_file_nr{index="0"} 1024
                node_sysctl_fs_file_nr{index="1"} 0
                node_sysctl_fs_file_nr{index="2"} 1.631329e+06
                # node_sysctl_fs_file_nr_current untyped
                node_sysctl_fs_file_nr_current 0
                # node_sysctl_fs_file_nr_max untyped
                node_sysctl_fs_file_nr_max 1.631329e+06
                # node_sysctl_fs_file_nr_total untyped
                node_sysctl_fs_file_nr_total 1024
                # node_sysctl_info gauge
                node_sysctl_info{name="kernel.seccomp.actions_avail",value="kill",index="0"} 1
                node_sysctl_info{name="kernel.seccomp.actions_avail",value="trap",index="1"} 1
                node_sysctl_info{name="net.ipv4.tcp_congestion_control",value="cubic",index="0"} 1
                # node_sysctl_kernel_sched_rt_runtime_us untyped
                node_sysctl_kernel_sched_rt_runtime_us -1
                # node_sysctl_kernel_shmmax untyped
                node_sysctl_kernel_shmmax 1.8446744073692774e+19
                # node_sysctl_kernel_threads_max untyped
                node_sysctl_kernel_threads_max 7801
                # node_sysctl_net_ipv4_conf_eth0_rp_filter untyped
                node_sysctl_net_ipv4_conf_eth0_rp_filter 2
            "#]],
        );
    }

    #[test]
    fn none_are_shown_by_default() {
        check::<Sysctl>(&memory().host(), &[], &expect![""]);
    }

    #[test]
    fn one_that_cannot_be_shown_costs_itself() {
        for (include, error) in [
            ("fs.none", "proc/sys/fs/none: there is no such sysctl"),
            (
                "net.ipv4.tcp_congestion_control",
                "proc/sys/net/ipv4/tcp_congestion_control: byte 0: expected a whole number",
            ),
            (
                "fs.file-nr:total,current",
                "proc/sys/fs/file-nr: byte 0: expected as many numbers as there are names, and more than one",
            ),
            (
                "kernel.threads-max:max",
                "proc/sys/kernel/threads-max: byte 0: expected as many numbers as there are names, and more than one",
            ),
            ("kernel.domainname", "proc/sys/kernel/domainname: byte 0: expected a whole number"),
        ] {
            let settings = [("include", list([include, "kernel.threads-max"]))];
            let mut collector = open::<Sysctl>(&memory().host(), &settings);
            let (batch, outcome) = run(&mut collector, None);
            assert_eq!(outcome.unwrap_err().to_string(), error);
            assert_eq!(batch.len(), 1, "{include}");
        }
        let settings = [("include", list(["fs.none", "kernel.domainname", "kernel.threads-max"]))];
        let (batch, outcome) = run(&mut open::<Sysctl>(&memory().host(), &settings), None);
        assert!(outcome.is_err() && batch.len() == 1);
        let fault = batch.fault().map(|fault| fault.error.to_owned()).unwrap_or_default();
        assert!(fault.contains("domainname: byte 0: expected a whole number"), "{fault}");
        // Without any other one it is a host that lacks it.
        let settings = [("include", list(["fs.none"]))];
        let (_, outcome) = run(&mut open::<Sysctl>(&memory().host(), &settings), None);
        assert!(matches!(outcome, Err(Error::Absent { .. })));
        let settings = [("include_info", list(["kernel.domainname"]))];
        let (_, outcome) = run(&mut open::<Sysctl>(&memory().host(), &settings), None);
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "proc/sys/kernel/domainname: byte 0: expected a value"
        );
    }

    #[test]
    fn a_bad_number_is_pointed_at() {
        assert_eq!(parse_all(b"1 2\tx 4"), Err(Malformed::new(4, "a whole number")));
    }

    #[test]
    fn bad_settings_are_refused() {
        let refused = |key, item: &str| refusal::<Sysctl>(&[(key, list([item]))]);
        expect![[
            r#"include: "../../etc/passwd" is not the name of a sysctl, such as "fs.file-nr""#
        ]]
        .assert_eq(&refused("include", "../../etc/passwd"));
        expect![[r#"include: "" is not the name of a sysctl, such as "fs.file-nr""#]]
            .assert_eq(&refused("include", ""));
        expect![[r#"include: "fs.file-nr:a,b-c": the names behind the colon are made of letters, digits and _, with commas between"#]]
            .assert_eq(&refused("include", "fs.file-nr:a,b-c"));
        expect![[r#"include_info: "kernel.a:b": values that are texts take no names"#]]
            .assert_eq(&refused("include_info", "kernel.a:b"));
    }
}
