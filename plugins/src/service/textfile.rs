//! Metrics that others have written into files in the text format of Prometheus.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::time::Instant;

use vitald_core::errno::InWords;
use vitald_core::exposition;
use vitald_core::host::Listing;
use vitald_core::prelude::*;
use vitald_core::settings::Size;

mod files;
mod path;
mod plan;

use files::{Content, File, Files, Reason};
use path::{Directories, push_plain};
use plan::Plan;

families! {
    /// When a file that was read was last changed, in whole seconds since the epoch.
    MODIFIED: gauge = "node_textfile_mtime_seconds" [file];
    /// Whether a directory or a file could not be read, or said what contradicts another one.
    SCRAPE_ERROR: gauge = "node_textfile_scrape_error";
}

settings! {
    /// Directories whose files that end in .prom are read. May be patterns such as /srv/*/metrics.
    directory: Vec<String> = [""; 0];
    /// How much memory what is read of all files may take with what is shown of it, roughly; one file
    /// may take three quarters of it. A file that there is no room for is left out as a whole, and
    /// `node_textfile_scrape_error` is 1.
    max_memory: Size = "32MiB" in "1MiB".."1GiB";
}

/// What is kept of the memory that a long file took while it was read.
const KEPT_TEXT: usize = 256 << 10;

/// For how long a file must have been as it is until what was read of it is taken to be what is in it:
/// longer than the coarsest time of change that a file system tells.
const SETTLED: Duration = Duration::from_secs(3);

register_collector!(Textfile);

struct Textfile {
    host: Host,
    directories: Vec<Directories>,
    /// What all files may cost; see [`Exposition::cost`]. One that comes when there is no room left for
    /// it is refused until there is, so that what is shown stays.
    most: usize,
    /// What one file may cost, and how many bytes it may have.
    share: usize,
    files: Files,
    /// What is shown of them; put together anew when one of them has changed.
    plan: Plan,
    buffers: Buffers,
    hasher: [RandomState; 2],
}

#[derive(Default)]
struct Buffers {
    path: String,
    pattern: String,
    listing: Listing,
    names: Listing,
    text: Vec<u8>,
}

impl Collector for Textfile {
    about! {
        name: "textfile",
        summary: "Metrics from files that others write",
        families: FAMILIES,
        patterns: [FamilyPattern {
            name: "*",
            kinds: &[Kind::Counter, Kind::Gauge, Kind::Untyped, Kind::Histogram, Kind::Summary],
            help: "Whatever the files say.",
        }],
        sources: ["the .prom files of the directories that are set"],
        settings: Settings,
    }
    // A directory may be on any file system; without one nothing is read.
    const MAY_BLOCK: bool = true;
    const MAY_BLOCK_WITH: Option<&'static str> = Some("directory");
    const OWN_DESCRIPTORS: bool = true;

    fn may_block(settings: &Settings) -> bool {
        settings.directory.iter().any(|directory| !directory.is_empty())
    }

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let directories = settings.directory.into_iter().filter(|directory| !directory.is_empty());
        let most = usize::try_from(settings.max_memory.0).unwrap_or(usize::MAX);
        Ok(Textfile {
            host: host.clone(),
            directories: directories.map(Directories::new).collect(),
            most,
            share: most / 4 * 3,
            files: Files::default(),
            plan: Plan::default(),
            buffers: Buffers::default(),
            hasher: [RandomState::new(), RandomState::new()],
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        self.files.begin();
        let mut reading = Reading {
            host: &self.host,
            hasher: &self.hasher,
            most: self.most,
            share: self.share,
            cost: self.files.iter().map(File::cost).sum(),
            files: &mut self.files,
            began: batch.fresh_from(),
            has_changed: false,
            has_failed: false,
            batch,
        };
        let Buffers { path, pattern, listing, names, text } = &mut self.buffers;
        for directories in &mut self.directories {
            directories.each(&self.host, pattern, names, |directory| {
                reading.read_directory(directory, path, listing, text);
            });
        }
        let Reading { mut has_failed, has_changed, .. } = reading;
        if self.files.end() | has_changed {
            self.plan = Plan::of(&self.files);
        }
        for file in self.files.iter().filter(|file| !file.is_read()) {
            has_failed = true;
            batch.fault(file.name(), Reason { file, most: self.most, share: self.share });
        }
        if let Some(file) = self.plan.contradictory().and_then(|file| self.files.get(file)) {
            has_failed = true;
            batch.fault(file.name(), "a family has another help than in a file before it");
        }
        // They come first, so that no limit on the samples of a collector can cost them.
        batch.value(&SCRAPE_ERROR, has_failed);
        for file in self.files.iter() {
            match (&file.content, &file.state) {
                (Content::Refused(malformed, _), _) => {
                    batch.tolerate::<()>(Err(*malformed));
                }
                (Content::Read(_), Some((state, _))) => {
                    // It may be before 1970, and is rounded as node_exporter does.
                    batch.row(&MODIFIED, [file.name().as_bytes()], state.modified.floor());
                }
                _ => {}
            }
        }
        self.plan.push(&self.files, batch);
        Ok(())
    }
}

/// One round over all directories.
struct Reading<'a> {
    host: &'a Host,
    hasher: &'a [RandomState; 2],
    /// What all files may cost, what one of them may, and what all cost.
    most: usize,
    share: usize,
    cost: usize,
    files: &'a mut Files,
    /// Whatever is looked at in this round is looked at later than this.
    began: Instant,
    has_changed: bool,
    has_failed: bool,
    batch: &'a mut Batch,
}

impl Reading<'_> {
    fn fail(&mut self, path: &str, error: impl fmt::Display) {
        self.has_failed = true;
        self.batch.fault(path, error);
    }

    fn read_directory(
        &mut self,
        directory: &str,
        path: &mut String,
        listing: &mut Listing,
        text: &mut Vec<u8>,
    ) {
        path.clear();
        path.push_str("file:");
        path.push_str(directory);
        match self.host.list(path, listing) {
            Ok(()) => {}
            Err(Error::Unreadable { source, .. }) => return self.fail(directory, InWords(&source)),
            Err(_) => return self.fail(directory, "there is no such directory"),
        }
        for entry in listing.iter().filter(|entry| entry.name.ends_with(b".prom")) {
            let Ok(name) = str::from_utf8(entry.name) else {
                // Its label could not be shown.
                let name = entry.name.escape_ascii();
                self.fail(directory, format_args!("the name of the file \"{name}\" is not UTF-8"));
                continue;
            };
            path.clear();
            path.push_str("file:");
            push_plain(path, directory, name);
            self.read_file(path, text);
            text.shrink_to(KEPT_TEXT);
        }
    }

    fn read_file(&mut self, path: &str, buffer: &mut Vec<u8>) {
        let Reading { host, hasher, most, share, .. } = *self;
        let Some(file) = self.files.meet(path) else { return };
        let (was_read, cost) = (file.is_read(), file.cost());
        let room = most.saturating_sub(self.cost - cost);
        // Before it is read, so that a file that is written meanwhile does not look fresher than it is.
        let state = match host.try_version(path) {
            Ok(state) if state.is_regular => state,
            other => {
                let error = other.err().unwrap_or(io::ErrorKind::InvalidInput.into());
                file.leave_out(Content::Unreadable(error));
                self.has_changed |= was_read;
                self.cost -= cost;
                return;
            }
        };
        let since = match file.state {
            Some((known, since)) if known == state => since,
            _ => Instant::now().max(self.began),
        };
        let is_known = file.state.is_some_and(|(known, _)| known == state) && file.is_settled;
        file.state = Some((state, since));
        if is_known && !file.may_come_in(room) {
            return;
        }
        match host.try_read_regular(path, share, buffer) {
            Ok(text) => {
                file.is_settled = self.began.saturating_duration_since(since) >= SETTLED;
                let digest = hasher.each_ref().map(|hasher| hasher.hash_one(text));
                if file.digest == Some(digest) && !file.may_come_in(room) {
                    return;
                }
                // Not there together with the new content.
                file.content = Content::TooLarge;
                file.content = parse(text, share);
                file.digest = Some(digest);
                if file.cost() > room {
                    file.content = Content::NoRoom(file.cost());
                }
                self.has_changed = true;
            }
            // It may have gone since the directory was listed.
            Err(error) => {
                let is_too_large = error.kind() == io::ErrorKind::FileTooLarge;
                let why = if is_too_large { Content::TooLarge } else { Content::Unreadable(error) };
                file.leave_out(why);
                self.has_changed |= was_read;
            }
        }
        self.cost = self.cost - cost + file.cost();
    }
}

/// Takes a whole file. As in node_exporter, a sample in it has no time, since that would go stale.
fn parse(text: &[u8], most: usize) -> Content {
    let refused = match exposition::parse(text, most) {
        Ok(exposition) => match exposition.first_time() {
            Some(at) => Malformed::new(at, "a newline after the value, and no time"),
            None => return Content::Read(exposition),
        },
        Err(malformed) => malformed,
    };
    // The end of a text is in its last line.
    let before = text.get(..refused.at.min(text.len().saturating_sub(1))).unwrap_or_default();
    Content::Refused(refused, 1 + before.iter().filter(|byte| **byte == b'\n').count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::run::Run;
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    fn memory(files: &[(&str, &str)]) -> MemoryHost {
        let memory = MemoryHost::new();
        memory.make_directory("file:/t");
        for (name, text) in files {
            let path = format!("file:/t/{name}");
            memory.write(&path, text);
            memory.set_modified(&path, 1_700_000_000.75);
        }
        memory
    }

    fn directory(path: &str) -> [(&'static str, Node); 1] {
        [("directory", Node::from([path]))]
    }

    fn page(memory: &MemoryHost) -> String {
        let (batch, outcome) = run(&mut open::<Textfile>(&memory.host(), &directory("/t")), None);
        outcome.unwrap();
        render(&batch)
    }

    #[test]
    fn golden() {
        let memory = memory(&[
            ("b.prom", "# TYPE up gauge\nup{host=\"b\"} 1\n"),
            ("a.prom", "# TYPE up gauge\nup 0\nup{job=\"x\"} 1\nonly_a 2\n"),
            ("c.txt", "ignored 1\n"),
        ]);
        check::<Textfile>(
            &memory.host(),
            &directory("/t/"),
            &expect![[r#"
                # node_textfile_mtime_seconds gauge
                node_textfile_mtime_seconds{file="/t/a.prom"} 1.7e+09
                node_textfile_mtime_seconds{file="/t/b.prom"} 1.7e+09
                # node_textfile_scrape_error gauge
                node_textfile_scrape_error 0
                # only_a untyped
                only_a 2
                # up gauge
                up 0
                up{job="x"} 1
                up{host="b"} 1
            "#]],
        );
    }

    #[test]
    fn a_bad_file_does_not_remove_the_others() {
        let memory = memory(&[("a.prom", "a 1\n"), ("b.prom", "b 1\nb x\n"), ("c.prom", "c 1\n")]);
        memory.fail("file:/t/d.prom", 5);
        memory.make_directory("file:/t/e.prom");
        expect![[r#"
            # a untyped
            a 1
            # c untyped
            c 1
            # node_textfile_mtime_seconds gauge
            node_textfile_mtime_seconds{file="/t/a.prom"} 1.7e+09
            node_textfile_mtime_seconds{file="/t/c.prom"} 1.7e+09
            # node_textfile_scrape_error gauge
            node_textfile_scrape_error 1
        "#]]
        .assert_eq(&page(&memory));
    }

    #[test]
    fn a_sample_with_a_time_costs_its_file() {
        let memory = memory(&[("a.prom", "a 1\n"), ("b.prom", "b 1\nb{x=\"\"} 1 1441205977284\n")]);
        let (run, outcome) = run(&mut open::<Textfile>(&memory.host(), &directory("/t")), None);
        outcome.unwrap();
        let fault = run.fault().map(|fault| format!("{}: {}", fault.source, fault.error));
        let at = "/t/b.prom: line 2: expected a newline after the value, and no time";
        assert_eq!(fault.as_deref(), Some(at));
        assert!(!render(&run).contains("# b "));
    }

    #[test]
    fn the_first_fault_names_its_file_or_directory() {
        let memory = memory(&[("a.prom", "a 1\n"), ("b.prom", "b 1\nb x\n")]);
        memory.fail("file:/t/c.prom", 5);
        let fault = |directory_set: &str| {
            let (run, outcome) =
                run(&mut open::<Textfile>(&memory.host(), &directory(directory_set)), None);
            outcome.unwrap();
            run.fault().map(|fault| format!("{}: {}", fault.source, fault.error))
        };
        let nope = "/nope: there is no such directory".to_owned();
        assert_eq!(fault("/nope"), Some(nope));
        let malformed = "/t/b.prom: line 2: expected a number".to_owned();
        assert_eq!(fault("/t"), Some(malformed));
        memory.remove("file:/t/b.prom");
        let failing = "/t/c.prom: Input/output error (os error 5)".to_owned();
        assert_eq!(fault("/t"), Some(failing));
        memory.write("file:/t/b.prom", "# HELP a One.\na 1\n");
        memory.write("file:/t/c.prom", "# HELP a Other.\na{c=\"\"} 1\n");
        let help = "/t/c.prom: a family has another help than in a file before it".to_owned();
        assert_eq!(fault("/t"), Some(help));
        memory.remove("file:/t/c.prom");
        assert_eq!(fault("/t"), None);
        memory.write(b"file:/t/\x1bbad\xff.prom", "a 1\n");
        let name = r#"/t: the name of the file "\x1bbad\xff.prom" is not UTF-8"#.to_owned();
        assert_eq!(fault("/t"), Some(name));
    }

    /// The help of each family but the declared ones.
    fn helps(files: &[(&str, &str)]) -> (Vec<String>, bool) {
        let memory = memory(files);
        let (batch, _) = run(&mut open::<Textfile>(&memory.host(), &directory("/t")), None);
        let helps = batch
            .samples()
            .map(|(series, _)| series)
            .filter(|series| !series.family_name().starts_with(b"node_textfile_"));
        let helps = helps.map(|series| {
            let (name, help) = (series.family_name(), series.help());
            format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(help))
        });
        (helps.collect(), render(&batch).contains("scrape_error 1"))
    }

    #[test]
    fn helps_are_merged_and_contradictions_left_out() {
        let (none, one, other) =
            ("a{f=\"0\"} 1\n", "# HELP a One.\na{f=\"1\"} 1\n", "# HELP a Other.\na{f=\"2\"} 1\n");
        let read_from = "a: Metric read from /t/1.prom".to_owned();
        assert_eq!(helps(&[("1.prom", none)]), (vec![read_from.clone()], false));
        let both = read_from + ", /t/2.prom";
        assert_eq!(
            helps(&[("1.prom", none), ("2.prom", "a{f=\"3\"} 1\n")]),
            (vec![both; 2], false)
        );
        let said = "a: One.".to_owned();
        assert_eq!(helps(&[("1.prom", none), ("2.prom", one)]), (vec![said.clone(); 2], false));
        assert_eq!(helps(&[("1.prom", one), ("2.prom", none)]), (vec![said.clone(); 2], false));
        assert_eq!(helps(&[("1.prom", one), ("2.prom", other)]), (vec![said.clone()], true));
        let three = [("1.prom", one), ("2.prom", other), ("3.prom", none)];
        assert_eq!(helps(&three), (vec![said], true));
    }

    #[test]
    fn a_family_of_two_types_keeps_the_first() {
        let memory = memory(&[
            ("a.prom", "# TYPE x gauge\nx 1\n"),
            ("b.prom", "# TYPE x counter\nx{b=\"\"} 2\n"),
        ]);
        assert!(page(&memory).contains("# x gauge\nx 1\n"));
        assert!(!page(&memory).contains("x{b"));
    }

    #[test]
    fn files_come_change_and_go() {
        let memory = memory(&[("b.prom", "b 1\n")]);
        let mut collector = open::<Textfile>(&memory.host(), &directory("/t"));
        let mut last = None;
        let mut shown = || {
            let (batch, outcome) = run(&mut collector, last.as_ref());
            outcome.unwrap();
            let page = render(&batch);
            let same = last.replace(batch).map(|last| last.shape().id());
            let is_new = same != last.as_ref().map(|last| last.shape().id());
            let lines = page.lines().filter(|line| !line.contains("node_") && !line.contains('#'));
            (lines.collect::<Vec<_>>().join(","), is_new)
        };
        assert_eq!(shown(), ("b 1".to_owned(), true));
        memory.write("file:/t/a.prom", "a 1\n");
        memory.write("file:/t/c.prom", "c 1\n");
        assert_eq!(shown(), ("a 1,b 1,c 1".to_owned(), true));
        memory.write("file:/t/b.prom", "b 2\n");
        assert_eq!(shown(), ("a 1,b 2,c 1".to_owned(), false));
        memory.remove("file:/t/a.prom");
        assert_eq!(shown(), ("b 2,c 1".to_owned(), true));
        memory.write("file:/t/b.prom", "");
        assert_eq!(shown(), ("c 1".to_owned(), true));
        memory.write("file:/t/b.prom", "b 3");
        assert_eq!(shown(), ("c 1".to_owned(), true));
    }

    /// The outcome with so little room that a test is quick.
    fn small(memory: &MemoryHost) -> Textfile {
        let [directory] = directory("/t");
        open::<Textfile>(&memory.host(), &[directory, ("max_memory", Node::from("1MiB"))])
    }

    /// What is said of the first file that is left out.
    fn fault(collector: &mut Textfile) -> Option<String> {
        let (run, outcome) = run(collector, None);
        outcome.unwrap();
        let fault = run.fault().map(|fault| format!("{}: {}", fault.source, fault.error));
        assert_eq!(render(&run).contains("scrape_error 1"), fault.is_some());
        fault
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_until_it_shrinks() {
        let memory = memory(&[("a.prom", "a 1\n"), ("b.prom", "b 1\n")]);
        let mut collector = small(&memory);
        assert_eq!(fault(&mut collector), None);
        memory.write("file:/t/a.prom", "#".repeat(768 << 10) + "\n");
        let too_large = "/t/a.prom: it has more than 768 KiB, three quarters of max_memory; make it \
                         smaller, or raise max_memory";
        assert_eq!(fault(&mut collector).as_deref(), Some(too_large));
        memory.write("file:/t/a.prom", "\n".to_owned() + &"a 1\n".repeat(10_000));
        let too_many = fault(&mut collector).unwrap();
        let line = too_many.strip_prefix("/t/a.prom: line ").and_then(|rest| rest.split_once(':'));
        let (line, why) = line.unwrap();
        assert!(line.parse::<usize>().is_ok_and(|line| (1000..10_000).contains(&line)), "{line}");
        assert!(why.starts_with(" what is before it takes 768 KiB"), "{why}");
        memory.write("file:/t/a.prom", "");
        assert_eq!(fault(&mut collector), None);
    }

    #[test]
    fn all_files_together_have_room_and_each_its_share() {
        let memory = memory(&[("z.prom", "small 1\n")]);
        // Each costs some 40 % of all, so two fit beside the small one and a third does not.
        let big = |name: &str| {
            let label = "x".repeat(1000);
            let most = (1 << 20) * 4 / 10 / (5 * 1000 + 200);
            (0..most).map(|at| format!("{name}{{a=\"{at}{label}\"}} 1\n")).collect::<String>()
        };
        let mut collector = small(&memory);
        let mut page = || {
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            let page = render(&batch);
            let names = ["a", "b", "c", "d", "small"];
            let shown = names.into_iter().filter(|name| page.contains(&format!("# {name} ")));
            let fails = page.contains("scrape_error 1");
            let fault = batch.fault().map(|fault| fault.error.to_owned());
            assert_eq!(fails, fault.is_some());
            assert!(
                fault.is_none_or(|fault| fault.contains("leave less of max_memory (1024 KiB)"))
            );
            (shown.collect::<Vec<_>>().join(""), fails)
        };
        assert_eq!(page(), ("small".to_owned(), false));
        for name in ["c", "b", "a"] {
            memory.write(format!("file:/t/{name}.prom"), big(name));
            memory.set_modified(format!("file:/t/{name}.prom"), 1.0);
            page();
        }
        // Those that were there stay, whatever comes before them.
        assert_eq!(page(), ("bcsmall".to_owned(), true));
        assert_eq!(page(), ("bcsmall".to_owned(), true));
        memory.remove("file:/t/b.prom");
        page();
        assert_eq!(page(), ("acsmall".to_owned(), false));
        memory.write("file:/t/a.prom", "a 1\n");
        assert_eq!(page(), ("acsmall".to_owned(), false));
    }

    /// How often files were opened for a collection at that time.
    fn opened_at(collector: &mut Textfile, memory: &MemoryHost, time: Instant) -> u64 {
        let before = memory.requests();
        let mut run = Run::new(FAMILIES);
        run.begin(None, 0);
        run.set_fresh_from(Some(time));
        collector.collect(run.batch()).unwrap();
        run.seal();
        assert!(render(&run).contains("scrape_error 0"));
        // One is the directory.
        (memory.requests() - before).opened - 1
    }

    #[test]
    fn a_file_is_read_again_until_it_has_settled_and_when_it_changes() {
        let memory = memory(&[("a.prom", "a 1\n"), ("b.prom", "b 1\n")]);
        let mut collector = open::<Textfile>(&memory.host(), &directory("/t"));
        let began = Instant::now();
        let mut opened =
            |seconds| opened_at(&mut collector, &memory, began + Duration::from_secs(seconds));
        assert_eq!(opened(0), 2);
        assert_eq!(opened(2), 2);
        assert_eq!(opened(10), 2);
        assert_eq!(opened(10), 0);
        assert_eq!(opened(100), 0);
        memory.write("file:/t/a.prom", "a 2\n");
        assert_eq!(opened(101), 1);
        assert_eq!(opened(103), 1);
        assert_eq!(opened(105), 1);
        assert_eq!(opened(106), 0);
        memory.write("file:/t/c.prom", "c 1\n");
        assert_eq!(opened(107), 1);
        memory.remove("file:/t/a.prom");
        assert_eq!(opened(120), 1);
        assert_eq!(opened(120), 0);
    }

    #[test]
    fn a_time_before_1970_or_after_9999_is_shown() {
        let memory = memory(&[("a.prom", "a 1\n"), ("b.prom", "b 1\n")]);
        memory.set_modified("file:/t/a.prom", -86_400.5);
        memory.set_modified("file:/t/b.prom", 9.9e11);
        let page = page(&memory);
        assert!(page.contains("mtime_seconds{file=\"/t/a.prom\"} -86401\n"), "{page}");
        assert!(page.contains("mtime_seconds{file=\"/t/b.prom\"} 9.9e+11\n"), "{page}");
    }

    #[test]
    fn own_rows_come_first() {
        let memory = memory(&[("a.prom", "a 1\n")]);
        let (batch, _) = run(&mut open::<Textfile>(&memory.host(), &directory("/t")), None);
        let names: Vec<_> = batch.samples().map(|(series, _)| series.family_name()).collect();
        let own = [&b"node_textfile_scrape_error"[..], b"node_textfile_mtime_seconds", b"a"];
        assert_eq!(names, own);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_not_a_file_costs_itself_alone() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.prom"), "a 1\n").unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("b.prom")).status();
        assert!(made.unwrap().success());
        symlink("/dev/zero", folder.path().join("c.prom")).unwrap();
        let host = Host::new(vitald_core::host::Roots::default());
        let settings = directory(folder.path().to_str().unwrap());
        let (batch, outcome) = run(&mut open::<Textfile>(&host, &settings), None);
        outcome.unwrap();
        let page = render(&batch);
        assert!(page.contains("\na 1\n") && page.contains("scrape_error 1\n"), "{page}");
    }

    #[test]
    fn several_directories_and_patterns() {
        let memory = MemoryHost::from_files(&[
            ("file:/t/a1/x.prom", "a1 1\n"),
            ("file:/t/a2/x.prom", "a2 1\n"),
            ("file:/t/b/x.prom", "b 1\n"),
        ]);
        let settings = [("directory", Node::from(["", "/t/b", "/t/a*"]))];
        check::<Textfile>(
            &memory.host(),
            &settings,
            &expect![[r#"
                # a1 untyped
                a1 1
                # a2 untyped
                a2 1
                # b untyped
                b 1
                # node_textfile_mtime_seconds gauge
                node_textfile_mtime_seconds{file="/t/b/x.prom"} 1.7e+09
                node_textfile_mtime_seconds{file="/t/a1/x.prom"} 1.7e+09
                node_textfile_mtime_seconds{file="/t/a2/x.prom"} 1.7e+09
                # node_textfile_scrape_error gauge
                node_textfile_scrape_error 0
            "#]],
        );
    }

    #[test]
    fn an_absent_directory_is_an_error_and_none_is_not() {
        let absent = expect![[r#"
            # node_textfile_scrape_error gauge
            node_textfile_scrape_error 1
        "#]];
        check::<Textfile>(&MemoryHost::new().host(), &directory("/t"), &absent);
        let none = expect![[r#"
            # node_textfile_scrape_error gauge
            node_textfile_scrape_error 0
        "#]];
        check::<Textfile>(&MemoryHost::new().host(), &directory(""), &none);
        check::<Textfile>(&MemoryHost::new().host(), &[], &none);
    }

    #[test]
    fn only_a_directory_makes_it_block() {
        let settings = |directory: &[&str]| Settings {
            directory: directory.iter().map(|directory| (*directory).to_owned()).collect(),
            max_memory: Size(1 << 20),
        };
        assert!(!Textfile::may_block(&settings(&[])));
        assert!(!Textfile::may_block(&settings(&[""])));
        assert!(Textfile::may_block(&settings(&["", "/t"])));
    }
}
