use super::*;
use std::collections::BTreeMap;
use std::time::Duration;
use vitald_core::settings::{self, Node, Origin, Value};
use vitald_core::testing::*;

/// A host that booted at 1,790,000,000 and has been up for 1,000 seconds.
fn booted() -> MemoryHost {
    let memory = MemoryHost::from_files(&[
        ("proc/stat", "cpu  1 2 3\nbtime 1790000000\nprocesses 5\n"),
        ("proc/loadavg", "0.01 0.14 0.13 1/3 13034\n"),
        ("proc/uptime", "1000.25 1900.00\n"),
        ("proc/self", ""),
    ]);
    memory.set_now(Duration::from_secs(1_790_001_000));
    memory
}

/// Writes the files of a process; what it used is `used` of everything.
struct Spawn {
    pid: u32,
    comm: &'static str,
    parent: u32,
    flags: u64,
    start: u64,
    used: u64,
    pages: u64,
    command_line: &'static str,
    cgroup: &'static str,
    user: u32,
}

const SHELL: Spawn = Spawn {
    pid: 27,
    comm: "bash",
    parent: 1,
    flags: 4_194_304,
    start: 4_550,
    used: 0,
    pages: 100,
    command_line: "-bash\0",
    cgroup: "0::/user.slice\n",
    user: 1000,
};

impl Spawn {
    fn on(&self, memory: &MemoryHost) {
        let Spawn { pid, comm, parent, flags, start, used, pages, .. } = self;
        let path = |file: &str| format!("proc/{pid}/{file}");
        let stat = format!(
            "{pid} ({comm}) S {parent} 27 27 0 -1 {flags} {used} 0 {used} 0 {used} {used} 0 0 20 0 2 0 \
             {start} 8192 {pages} 18446744073709551615 1 1 1 1 1 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
        );
        memory.write(path("stat"), stat);
        let user = self.user;
        let status = format!(
            "Name:\t{comm}\nUid:\t{user}\t{user}\t{user}\t{user}\nVmSwap:\t      3 kB\n\
             voluntary_ctxt_switches:\t{used}\nnonvoluntary_ctxt_switches:\t{used}\n"
        );
        memory.write(path("status"), status);
        let io = format!("rchar: 1\nread_bytes: {used}\nwrite_bytes: {used}\n");
        memory.write(path("io"), io);
        let limits =
            "Max open files            8                    16                   files     \n";
        memory.write(path("limits"), limits);
        memory.write(path("cmdline"), self.command_line);
        memory.write(path("cgroup"), self.cgroup);
        memory.write(path("fd/0"), "");
        memory.write(path("fd/1"), "");
    }
}

fn table(entries: &[(&str, &str)]) -> Value {
    let entries =
        entries.iter().map(|(key, text)| ((*key).to_owned(), Value::new(*text, Origin::Default)));
    let node = Node::Table(Table { path: String::new(), entries: BTreeMap::from_iter(entries) });
    Value::new(node, Origin::Default)
}

/// One collection: the samples whose name contains a word, without their prefix.
fn samples(collector: &mut ProcessGroups, word: &str) -> Vec<String> {
    let (batch, outcome) = run(collector, None);
    outcome.unwrap();
    let page = render(&batch);
    let named = page.lines().filter(|line| !line.starts_with('#') && line.contains(word));
    named.map(|line| line.replace("namedprocess_namegroup_", "")).collect()
}

#[test]
fn golden() {
    let memory = booted();
    SHELL.on(&memory);
    Spawn { pid: 9, comm: "bash", start: 300, pages: 50, ..SHELL }.on(&memory);
    check::<ProcessGroups>(
        &memory.host(),
        &[],
        &expect![[r#"
            # namedprocess_groups gauge
            namedprocess_groups 1
            # namedprocess_groups_folded gauge
            namedprocess_groups_folded 0
            # namedprocess_namegroup_context_switches_total counter
            namedprocess_namegroup_context_switches_total{groupname="bash",ctxswitchtype="voluntary"} 0
            namedprocess_namegroup_context_switches_total{groupname="bash",ctxswitchtype="nonvoluntary"} 0
            # namedprocess_namegroup_cpu_seconds_total counter
            namedprocess_namegroup_cpu_seconds_total{groupname="bash",mode="user"} 0
            namedprocess_namegroup_cpu_seconds_total{groupname="bash",mode="system"} 0
            # namedprocess_namegroup_major_page_faults_total counter
            namedprocess_namegroup_major_page_faults_total{groupname="bash"} 0
            # namedprocess_namegroup_memory_bytes gauge
            namedprocess_namegroup_memory_bytes{groupname="bash",memtype="resident"} 614400
            namedprocess_namegroup_memory_bytes{groupname="bash",memtype="virtual"} 16384
            namedprocess_namegroup_memory_bytes{groupname="bash",memtype="swapped"} 6144
            # namedprocess_namegroup_minor_page_faults_total counter
            namedprocess_namegroup_minor_page_faults_total{groupname="bash"} 0
            # namedprocess_namegroup_num_procs gauge
            namedprocess_namegroup_num_procs{groupname="bash"} 2
            # namedprocess_namegroup_num_threads gauge
            namedprocess_namegroup_num_threads{groupname="bash"} 4
            # namedprocess_namegroup_oldest_start_time_seconds gauge
            namedprocess_namegroup_oldest_start_time_seconds{groupname="bash"} 1.790000003e+09
            # namedprocess_namegroup_open_filedesc gauge
            namedprocess_namegroup_open_filedesc{groupname="bash"} 4
            # namedprocess_namegroup_read_bytes_total counter
            namedprocess_namegroup_read_bytes_total{groupname="bash"} 0
            # namedprocess_namegroup_states gauge
            namedprocess_namegroup_states{groupname="bash",state="Running"} 0
            namedprocess_namegroup_states{groupname="bash",state="Sleeping"} 2
            namedprocess_namegroup_states{groupname="bash",state="Waiting"} 0
            namedprocess_namegroup_states{groupname="bash",state="Zombie"} 0
            namedprocess_namegroup_states{groupname="bash",state="Other"} 0
            # namedprocess_namegroup_worst_fd_ratio gauge
            namedprocess_namegroup_worst_fd_ratio{groupname="bash"} 0.25
            # namedprocess_namegroup_write_bytes_total counter
            namedprocess_namegroup_write_bytes_total{groupname="bash"} 0
            # namedprocess_processes_left_out_total counter
            namedprocess_processes_left_out_total 0
            # namedprocess_scrape_errors counter
            namedprocess_scrape_errors 0
            # namedprocess_scrape_partial_errors counter
            namedprocess_scrape_partial_errors 0
            # namedprocess_scrape_procread_errors counter
            namedprocess_scrape_procread_errors 0
        "#]],
    );
}

#[test]
fn counts_what_is_used_while_it_looks() {
    let memory = booted();
    Spawn { used: 500, ..SHELL }.on(&memory);
    let mut collector = open::<ProcessGroups>(&memory.host(), &[]);
    assert_eq!(samples(&mut collector, "read_bytes"), [r#"read_bytes_total{groupname="bash"} 0"#]);
    Spawn { used: 510, ..SHELL }.on(&memory);
    // Born since: all it used counts.
    Spawn { pid: 28, start: 100_026, used: 7, ..SHELL }.on(&memory);
    // Not seen before but born before: its past does not.
    Spawn { pid: 29, start: 99_000, used: 900, ..SHELL }.on(&memory);
    assert_eq!(samples(&mut collector, "read_bytes"), [r#"read_bytes_total{groupname="bash"} 17"#]);
    let cpu = [
        r#"cpu_seconds_total{groupname="bash",mode="user"} 0.17"#,
        r#"cpu_seconds_total{groupname="bash",mode="system"} 0.17"#,
    ];
    assert_eq!(samples(&mut collector, "cpu_seconds"), cpu);
    // What has ended keeps what it used.
    for pid in [27, 28, 29] {
        memory.remove(format!("proc/{pid}"));
    }
    assert_eq!(samples(&mut collector, "cpu_seconds"), cpu);
    assert_eq!(samples(&mut collector, "num_procs"), [r#"num_procs{groupname="bash"} 0"#]);
    assert!(samples(&mut collector, "oldest_start").is_empty());
}

#[test]
fn a_number_given_again_is_another_process() {
    let memory = booted();
    Spawn { used: 500, ..SHELL }.on(&memory);
    let mut collector = open::<ProcessGroups>(&memory.host(), &[]);
    samples(&mut collector, "");
    memory.write("proc/uptime", "1100.00 2000.00\n");
    Spawn { comm: "cron", start: 105_000, used: 600, ..SHELL }.on(&memory);
    let read = samples(&mut collector, "read_bytes");
    assert_eq!(
        read,
        [r#"read_bytes_total{groupname="bash"} 0"#, r#"read_bytes_total{groupname="cron"} 600"#]
    );
}

#[test]
fn a_process_that_changes_its_name_changes_its_group() {
    let memory = booted();
    Spawn { used: 5, ..SHELL }.on(&memory);
    let mut collector = open::<ProcessGroups>(&memory.host(), &[]);
    samples(&mut collector, "");
    Spawn { comm: "make", used: 9, ..SHELL }.on(&memory);
    let read = samples(&mut collector, "read_bytes");
    assert_eq!(
        read,
        [r#"read_bytes_total{groupname="bash"} 0"#, r#"read_bytes_total{groupname="make"} 4"#]
    );
}

#[test]
fn rules_name_groups() {
    let memory = booted();
    memory.write("rootfs/etc/passwd", "root:x:0:0:::\nwww-data:x:33:33:::\n");
    let unit = "9:memory:/\n0::/system.slice/db.service\n";
    Spawn { pid: 1, comm: "init", parent: 0, user: 0, ..SHELL }.on(&memory);
    Spawn { pid: 2, comm: "postgres", cgroup: unit, user: 70, ..SHELL }.on(&memory);
    Spawn { pid: 3, comm: "nginx", user: 33, ..SHELL }.on(&memory);
    Spawn { pid: 4, comm: "java", command_line: "java\0-jar\0/opt/shop.jar\0secret\0", ..SHELL }
        .on(&memory);
    // One that no rule takes, and a grandchild of java.
    Spawn { pid: 5, comm: "sleep", ..SHELL }.on(&memory);
    Spawn { pid: 7, comm: "sh", parent: 4, ..SHELL }.on(&memory);
    Spawn { pid: 6, comm: "cat", parent: 7, ..SHELL }.on(&memory);
    Spawn { pid: 8, comm: "nginx", user: 34, ..SHELL }.on(&memory);
    let rules = Node::List(vec![
        table(&[("name", "web-${user}"), ("command", "^nginx$"), ("user", "www-data")]),
        table(&[("name", "web-${user}"), ("command", "^nginx$"), ("user", "34")]),
        table(&[("name", "${unit}"), ("cgroup", r"^/system\.slice/(?P<unit>[^/]+)\.service$")]),
        table(&[("name", "${comm}:${jar}"), ("command_line", r"-jar (?:\S*/)?(?P<jar>\w+)\.jar")]),
    ]);
    let rules = ("rules", rules);
    let mut collector = open::<ProcessGroups>(&memory.host(), std::slice::from_ref(&rules));
    let groups = [
        r#"num_procs{groupname="db"} 1"#,
        r#"num_procs{groupname="web-www-data"} 1"#,
        r#"num_procs{groupname="java:shop"} 3"#,
        r#"num_procs{groupname="web-34"} 1"#,
    ];
    assert_eq!(samples(&mut collector, "num_procs"), groups);
    // What was taken in stays when its parent ends.
    memory.remove("proc/7");
    Spawn { pid: 6, comm: "cat", parent: 1, ..SHELL }.on(&memory);
    assert_eq!(samples(&mut collector, "shop\"} 2").len(), 1);
    let alone = [rules, ("children", Node::Boolean(false))];
    let mut collector = open::<ProcessGroups>(&memory.host(), &alone);
    assert_eq!(samples(&mut collector, "num_procs{groupname=\"java:shop\"} 1").len(), 1);
}

#[test]
fn a_process_is_asked_about_twice() {
    let memory = booted();
    Spawn { command_line: "bash\0", ..SHELL }.on(&memory);
    let rule = table(&[("name", "job"), ("command_line", "^bash job")]);
    let mut collector =
        open::<ProcessGroups>(&memory.host(), &[("rules", Node::List(vec![rule.clone()]))]);
    assert!(samples(&mut collector, "num_procs").is_empty());
    Spawn { command_line: "bash\0job\0", ..SHELL }.on(&memory);
    assert_eq!(samples(&mut collector, "num_procs"), [r#"num_procs{groupname="job"} 1"#]);
    Spawn { command_line: "bash\0", ..SHELL }.on(&memory);
    assert_eq!(samples(&mut collector, "num_procs"), [r#"num_procs{groupname="job"} 1"#]);
    let settings = [("rules", Node::List(vec![rule])), ("recheck", Node::Boolean(true))];
    let mut collector = open::<ProcessGroups>(&memory.host(), &settings);
    for _ in 0..3 {
        assert!(samples(&mut collector, "num_procs").is_empty());
    }
    Spawn { command_line: "bash\0job\0", ..SHELL }.on(&memory);
    assert_eq!(samples(&mut collector, "num_procs").len(), 1);
}

#[test]
fn kernel_threads_are_left_out_unless_wanted() {
    let memory = booted();
    let thread = Spawn { comm: "kworker/0:1-events", flags: 0x0020_8040, ..SHELL };
    thread.on(&memory);
    Spawn { pid: 28, comm: "kworker/1:0H", ..thread }.on(&memory);
    let mut collector = open::<ProcessGroups>(&memory.host(), &[]);
    assert!(samples(&mut collector, "num_procs").is_empty());
    let mut collector =
        open::<ProcessGroups>(&memory.host(), &[("kernel_threads", Node::Boolean(true))]);
    assert_eq!(samples(&mut collector, "num_procs"), [r#"num_procs{groupname="kworker"} 2"#]);
}

#[test]
fn the_smaller_groups_are_one() {
    let memory = booted();
    for (pid, comm, pages) in [(1, "a", 10), (2, "b", 30), (3, "c", 20), (4, "d", 5)] {
        Spawn { pid, comm, pages, ..SHELL }.on(&memory);
    }
    let settings = [("top_groups", Node::Integer(2)), ("max_groups", Node::Integer(3))];
    let mut collector = open::<ProcessGroups>(&memory.host(), &settings);
    assert_eq!(
        samples(&mut collector, "resident"),
        [
            r#"memory_bytes{groupname="other",memtype="resident"} 61440"#,
            r#"memory_bytes{groupname="b",memtype="resident"} 122880"#,
            r#"memory_bytes{groupname="c",memtype="resident"} 81920"#,
        ]
    );
    let counts = ["namedprocess_groups 3", "namedprocess_groups_folded 1"];
    assert_eq!(samples(&mut collector, "namedprocess_groups"), counts);
    let left_out = ["namedprocess_processes_left_out_total 1"];
    assert_eq!(samples(&mut collector, "left_out"), left_out);
}

#[test]
fn a_limit_of_descriptors_is_read_again_within_a_minute() {
    let memory = booted();
    for pid in 100..600 {
        Spawn { pid, ..SHELL }.on(&memory);
    }
    let mut collector = open::<ProcessGroups>(&memory.host(), &[]);
    assert_eq!(
        samples(&mut collector, "worst_fd_ratio"),
        [r#"worst_fd_ratio{groupname="bash"} 0.25"#]
    );
    // The highest ratio goes down when the last of them is known to have more.
    for pid in 100..600 {
        let limits =
            "Max open files            16                   16                   files     \n";
        memory.write(format!("proc/{pid}/limits"), limits);
    }
    for expected in ["0.25", "0.25", "0.25", "0.125"] {
        memory.pass_time(Duration::from_secs(15));
        let line = format!("worst_fd_ratio{{groupname=\"bash\"}} {expected}");
        assert_eq!(samples(&mut collector, "worst_fd_ratio"), [line]);
    }
}

#[test]
fn reads_only_what_the_settings_ask_for() {
    let memory = booted();
    SHELL.on(&memory);
    for file in ["status", "io", "limits", "cmdline", "cgroup", "fd/0"] {
        memory.fail(format!("proc/27/{file}"), 5);
    }
    memory.write("proc/27/smaps_rollup", "Pss: 7 kB\nSwapPss: 1 kB\n");
    let settings = ["read_status", "read_io", "read_descriptors"]
        .map(|key| (key, Node::Boolean(false)))
        .into_iter()
        .chain([("read_smaps", Node::Boolean(true))]);
    let mut collector = open::<ProcessGroups>(&memory.host(), &settings.collect::<Vec<_>>());
    let page = samples(&mut collector, "");
    assert!(page.contains(&"namedprocess_scrape_partial_errors 0".to_owned()));
    let shares = r#"memory_bytes{groupname="bash",memtype="proportionalResident"} 7168"#;
    assert!(page.contains(&shares.to_owned()));
    for family in ["switches", "swapped\"", "read_bytes", "write_bytes", "filedesc", "fd_ratio"] {
        assert!(!page.iter().any(|line| line.contains(family)), "{family}");
    }
}

#[test]
fn what_ends_meanwhile_is_no_error_and_what_is_refused_is() {
    let memory = booted();
    SHELL.on(&memory);
    for (pid, errno) in [(30, 2), (31, 3), (32, 13)] {
        Spawn { pid, ..SHELL }.on(&memory);
        memory.fail(format!("proc/{pid}/stat"), errno);
    }
    Spawn { pid: 33, ..SHELL }.on(&memory);
    memory.fail("proc/33/io", 13);
    memory.fail("proc/33/status", 3);
    let mut collector = open::<ProcessGroups>(&memory.host(), &[]);
    let (batch, outcome) = run(&mut collector, None);
    outcome.unwrap();
    assert_eq!(batch.degraded_reason(), Some("permissions"));
    let page = render(&batch);
    for sample in [
        "namegroup_num_procs{groupname=\"bash\"} 2\n",
        "scrape_procread_errors 1\n",
        "scrape_partial_errors 1\n",
    ] {
        assert!(page.contains(sample), "{sample}{page}");
    }
    // A process that cannot be read for once is not forgotten: its group keeps its place.
    memory.fail("proc/27/stat", 24);
    assert_eq!(samples(&mut collector, "num_procs"), [r#"num_procs{groupname="bash"} 2"#]);
}

#[test]
fn odd_text_costs_one_process() {
    let memory = booted();
    SHELL.on(&memory);
    memory.write("proc/28/stat", "28 (x");
    let mut collector = open::<ProcessGroups>(&memory.host(), &[]);
    let (batch, outcome) = run(&mut collector, None);
    outcome.unwrap();
    assert_eq!(batch.malformed().map(|(lines, _)| lines), Some(1));
    assert!(render(&batch).contains("namegroup_num_procs{groupname=\"bash\"} 1\n"));
}

#[test]
fn hidden_processes_are_reported() {
    let memory = booted();
    SHELL.on(&memory);
    for (threads, reason) in [(20, None), (100, Some("hidepid"))] {
        memory.write("proc/loadavg", format!("0.01 0.14 0.13 1/{threads} 13034\n"));
        let (batch, _) = run(&mut open::<ProcessGroups>(&memory.host(), &[]), None);
        assert_eq!(batch.degraded_reason(), reason);
    }
}

#[test]
fn without_procfs_there_is_nothing() {
    let page = expect![[r#"
        # namedprocess_groups gauge
        namedprocess_groups 0
        # namedprocess_groups_folded gauge
        namedprocess_groups_folded 0
        # namedprocess_processes_left_out_total counter
        namedprocess_processes_left_out_total 0
        # namedprocess_scrape_errors counter
        namedprocess_scrape_errors 1
        # namedprocess_scrape_partial_errors counter
        namedprocess_scrape_partial_errors 0
        # namedprocess_scrape_procread_errors counter
        namedprocess_scrape_procread_errors 0
    "#]];
    let error = expect!["proc: not on this host"];
    check_fails::<ProcessGroups>(&MemoryHost::new().host(), &[], &error, &page);
}

#[test]
fn mistakes_in_rules_are_reported_at_their_places() {
    let origin = |line| Origin::File { file: "c".into(), line, column: 1 };
    let mut rule = table(&[("nam", "a"), ("command", "("), ("user", "0")]);
    rule.origin = origin(1);
    if let Node::Table(table) = &mut rule.node {
        for (line, value) in (2..).zip(table.entries.values_mut()) {
            (value.origin, value.key_origin) = (origin(line), origin(line));
        }
    }
    let rules = Node::List(vec![rule, Value::new("web", origin(9))]);
    let mut settings = Table::at("collectors.process_groups");
    settings.entries.insert("rules".to_owned(), Value::new(rules, origin(1)));
    let mut mistakes = Mistakes::new();
    let decoded = <Settings as settings::Settings>::decode(&settings, &mut mistakes);
    assert!(decoded.is_none());
    let reported: Vec<String> = mistakes.into_sorted().iter().map(ToString::to_string).collect();
    expect![[r#"
        c:2:1: collectors.process_groups.rules.command: not a regular expression: unclosed group
        c:3:1: collectors.process_groups.rules.nam: no such key; did you mean name?
        c:9:1: collectors.process_groups.rules: expected a table, found text"#]]
    .assert_eq(&reported.join("\n"));
}

#[test]
fn more_may_be_shown_than_known_is_a_mistake() {
    let refused = refusal::<ProcessGroups>(&[("top_groups", 5.into()), ("max_groups", 4.into())]);
    assert_eq!(refused, "max_groups: must not be less than `top_groups`");
}

/// A process that is not shown at first comes into a group with 5,000 ticks used.
fn past_of_a_latecomer(memory: &MemoryHost, known: bool) -> Vec<String> {
    let rule = table(&[("name", "java"), ("command", "^java$")]);
    let settings = [("rules", Node::List(vec![rule]))];
    let mut collector = open::<ProcessGroups>(&memory.host(), &settings);
    let late = Spawn { pid: 50, used: 5_000, start: 9_990_000, ..SHELL };
    if known {
        late.on(memory);
    }
    samples(&mut collector, "");
    Spawn { comm: "java", ..late }.on(memory);
    samples(&mut collector, "_bytes_total")
}

#[test]
fn a_process_that_comes_into_a_group_late_brings_no_past_whatever_the_uptime() {
    let nothing =
        [r#"read_bytes_total{groupname="java"} 0"#, r#"write_bytes_total{groupname="java"} 0"#];
    // That of the host, that of a container beside start times of the host's, none, and not a number.
    for uptime in [Some("110000.00 1.0\n"), Some("100.00 1.0\n"), None, Some("?\n"), Some("")] {
        for known in [true, false] {
            let memory = booted();
            memory.set_now(Duration::from_secs(1_790_110_000));
            match uptime {
                Some(text) => memory.write("proc/uptime", text),
                None => memory.remove("proc/uptime"),
            }
            assert_eq!(past_of_a_latecomer(&memory, known), nothing, "{uptime:?} {known}");
        }
    }
}

#[test]
fn without_the_time_of_the_boot_only_the_start_is_left_out() {
    for stat in ["cpu  1 2 3\n", "", "btime 0\n", "btime x\n", "btime -5\n"] {
        let memory = booted();
        memory.write("proc/stat", stat);
        SHELL.on(&memory);
        let mut collector = open::<ProcessGroups>(&memory.host(), &[]);
        let page = samples(&mut collector, "");
        assert!(!page.iter().any(|line| line.contains("oldest_start")), "{stat}");
        assert!(page.contains(&r#"num_procs{groupname="bash"} 1"#.to_owned()), "{stat}: {page:?}");
        assert!(page.contains(&"namedprocess_scrape_errors 0".to_owned()), "{stat}");
    }
    let memory = booted();
    memory.fail("proc/stat", 13);
    SHELL.on(&memory);
    let mut collector = open::<ProcessGroups>(&memory.host(), &[]);
    assert_eq!(samples(&mut collector, "num_procs"), [r#"num_procs{groupname="bash"} 1"#]);
}

#[test]
fn a_status_without_context_switches_says_whose_the_process_is() {
    let memory = booted();
    SHELL.on(&memory);
    memory.write("proc/27/status", "Name:\tx\nUid:\t0\t1000\t0\t0\nVmSwap:\t      12 kB\n");
    memory.write("proc/27/io", "rchar: 1\n");
    memory.write("rootfs/etc/passwd", "web:x:1000:1000:::\n");
    let rule = table(&[("name", "${user}-${comm}"), ("user", "web")]);
    let mut collector = open::<ProcessGroups>(&memory.host(), &[("rules", Node::List(vec![rule]))]);
    let swapped = [r#"memory_bytes{groupname="web-bash",memtype="swapped"} 12288"#];
    assert_eq!(samples(&mut collector, "swapped"), swapped);
}

#[test]
fn names_that_are_shown_as_one_are_one_group() {
    let memory = booted();
    for (pid, end) in [(27, &b"\xe6\xad"[..]), (28, b"\xe6\xae"), (29, b"\xe6")] {
        Spawn { pid, ..SHELL }.on(&memory);
        let text = format!("{pid} (job-");
        let rest = ") S 1 27 27 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 2 0 4550 8192 100 1\n";
        memory.write(format!("proc/{pid}/stat"), [text.as_bytes(), end, rest.as_bytes()].concat());
    }
    let mut collector = open::<ProcessGroups>(&memory.host(), &[]);
    let (batch, outcome) = run(&mut collector, None);
    outcome.unwrap();
    assert_eq!(batch.dropped().duplicates, 0);
    let page = render(&batch);
    assert!(page.contains("num_procs{groupname=\"job-\u{fffd}\"} 3\n"), "{page}");
}

#[test]
fn the_end_of_a_long_command_line_decides() {
    let memory = booted();
    SHELL.on(&memory);
    let class_path = "/opt/kafka/libs/some-library-1.2.3.jar:".repeat(8_000);
    let command_line = format!("java\0-cp\0{class_path}\0kafka.Kafka\0");
    memory.write("proc/27/cmdline", command_line);
    let rule = table(&[("name", "kafka"), ("command_line", r"kafka\.Kafka$")]);
    let mut collector = open::<ProcessGroups>(&memory.host(), &[("rules", Node::List(vec![rule]))]);
    assert_eq!(samples(&mut collector, "num_procs"), [r#"num_procs{groupname="kafka"} 1"#]);
}

/// This machine's own processes, of which this test is one.
#[cfg(target_os = "linux")]
#[test]
fn finds_itself() {
    let host = Host::new(vitald_core::host::Roots::default());
    let rule = table(&[("name", "${crate}"), ("command_line", "/(?P<crate>vitald_plugins)-")]);
    let settings = [("rules", Node::List(vec![rule])), ("children", Node::Boolean(false))];
    let mut collector = open::<ProcessGroups>(&host, &settings);
    run(&mut collector, None).1.unwrap();
    // Faults that this process has between two collections are its group's.
    let grown = vec![1_u8; 8 << 20];
    let (batch, outcome) = run(&mut collector, None);
    outcome.unwrap();
    assert!(grown.iter().all(|byte| *byte == 1));
    let page = render(&batch);
    let value = |family: &str| -> f64 {
        let series = format!("namedprocess_namegroup_{family}{{groupname=\"vitald_plugins\"");
        let line = page.lines().find(|line| line.starts_with(&series));
        line.and_then(|line| line.rsplit_once(' ')).unwrap().1.parse().unwrap()
    };
    assert!(value("num_procs") >= 1.0, "{page}");
    assert!(value("num_threads") >= 1.0);
    assert!(value("open_filedesc") >= 3.0);
    assert!(value("memory_bytes") >= grown.len() as f64);
    assert!(value("minor_page_faults_total") >= 1.0);
    let oldest = value("oldest_start_time_seconds");
    assert!(oldest > 0.0 && oldest <= host.now().as_secs_f64());
}

#[test]
fn a_steady_collection_has_one_shape_whatever_is_ranked() {
    let memory = booted();
    for (pid, comm) in [(1, "a"), (2, "b"), (3, "c")] {
        Spawn { pid, comm, pages: 10, ..SHELL }.on(&memory);
    }
    let mut collector = open::<ProcessGroups>(&memory.host(), &[("top_groups", Node::Integer(2))]);
    let (first, _) = run(&mut collector, None);
    // c grows, but not by a quarter, so that it does not take a place.
    Spawn { pid: 3, comm: "c", pages: 12, ..SHELL }.on(&memory);
    let (second, _) = run(&mut collector, Some(&first));
    assert_eq!(first.shape().id(), second.shape().id());
    Spawn { pid: 3, comm: "c", pages: 13, ..SHELL }.on(&memory);
    let (third, _) = run(&mut collector, Some(&second));
    assert_ne!(second.shape().id(), third.shape().id());
}
