//! Metrics that others have written into files in the text format of Prometheus.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::ops::Range;

use vitald_core::errno::InWords;
use vitald_core::exposition::{self, Exposition};
use vitald_core::host::Listing;
use vitald_core::prelude::*;

mod path;

use path::{Directories, push_plain};

families! {
    /// When a file that was read was last changed, in whole seconds since the epoch.
    MODIFIED: gauge = "node_textfile_mtime_seconds" [file];
    /// Whether a directory or a file could not be read, or said what contradicts another one.
    SCRAPE_ERROR: gauge = "node_textfile_scrape_error";
}

settings! {
    /// Directories whose files that end in .prom are read. May be patterns such as /srv/*/metrics.
    directory: Vec<String> = [""; 0];
}

/// A larger file is refused.
const LARGEST_FILE: usize = 16 << 20;

/// The most that a file may cost; see [`Exposition::cost`].
const LARGEST_FILE_COST: usize = 12 << 20;

/// What all files may cost together. One that comes when there is no room left for it is refused
/// until there is, so that what is shown stays.
const LARGEST_COST: usize = 2 * LARGEST_FILE_COST;

/// What is kept of the memory that a long file took while it was read.
const KEPT_TEXT: usize = 256 << 10;

register_collector!(Textfile);

struct Textfile {
    host: Host,
    directories: Vec<Directories>,
    /// The files of the last collection, in the order in which they were read.
    files: Vec<File>,
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

/// A file that was read.
struct File {
    /// As the host takes it, `file:` and the path that the label shows.
    path: Box<str>,
    /// Of the text, which is not kept; `None` if it was not read.
    digest: Option<[u64; 2]>,
    content: Content,
    modified: Option<f64>,
}

enum Content {
    Read(Exposition),
    /// The text is not in the format, or costs more than a file may.
    Refused(Malformed),
    /// There was no room for it; it costs so much.
    NoRoom(usize),
}

impl Content {
    fn cost(&self) -> usize {
        match self {
            Content::Read(exposition) => exposition.cost(),
            _ => 0,
        }
    }
}

/// Which families are shown, those of one name together.
#[derive(Default)]
struct Plan {
    families: Vec<Shown>,
    helps: Vec<u8>,
    /// The position of the first file that gave a family another help than a file before it; what is
    /// left out is the later one's family.
    contradictory: Option<usize>,
}

struct Shown {
    kind: Kind,
    help: Range<usize>,
    /// File and family in it, by position.
    parts: Vec<(usize, usize)>,
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
        Ok(Textfile {
            host: host.clone(),
            directories: directories.map(Directories::new).collect(),
            files: Vec::new(),
            plan: Plan::default(),
            buffers: Buffers::default(),
            hasher: [RandomState::new(), RandomState::new()],
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let mut reading = Reading {
            host: &self.host,
            hasher: &self.hasher,
            cost: self.files.iter().map(|file| file.content.cost()).sum(),
            files: &mut self.files,
            next: 0,
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
        let mut has_failed = reading.has_failed;
        if reading.finish() {
            self.plan = Plan::of(&self.files);
        }
        for file in &self.files {
            match (&file.content, file.modified) {
                (Content::Refused(malformed), _) => batch.fault(file.name(), malformed),
                (Content::NoRoom(_), _) => {
                    batch.fault(file.name(), "the files are too large together")
                }
                (Content::Read(_), None) => batch.fault(file.name(), "its time cannot be read"),
                (Content::Read(_), Some(_)) => continue,
            }
            has_failed = true;
        }
        if let Some(file) = self.plan.contradictory.and_then(|file| self.files.get(file)) {
            has_failed = true;
            batch.fault(file.name(), "a family has another help than in a file before it");
        }
        // They come first, so that no limit on the samples of a collector can cost them.
        batch.value(&SCRAPE_ERROR, has_failed);
        for file in &self.files {
            match (&file.content, file.modified) {
                (Content::Refused(malformed), _) => {
                    batch.tolerate::<()>(Err(*malformed));
                }
                (Content::Read(_), Some(modified)) => {
                    batch.row(&MODIFIED, [file.name().as_bytes()], modified);
                }
                (Content::NoRoom(_), _) | (Content::Read(_), None) => {}
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
    /// What all files cost.
    cost: usize,
    files: &'a mut Vec<File>,
    /// How many of `files` were met in this round.
    next: usize,
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
                self.fail(directory, "the name of a file is not UTF-8");
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
        let is_too_large = match self.host.try_read_regular(path, LARGEST_FILE, buffer) {
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => true,
            Err(error) => {
                let name = plain_name(path);
                match error.kind() {
                    io::ErrorKind::InvalidInput => self.fail(name, "it is not a regular file"),
                    // It may have gone since the directory was listed.
                    _ => self.fail(name, InWords(&error)),
                }
                return;
            }
        };
        let at = self.next;
        let known = self.files.iter().skip(at).position(|file| *file.path == *path);
        match known {
            Some(0) => {}
            Some(later) => {
                self.has_changed = true;
                self.files.swap(at, at + later);
            }
            None => {
                self.has_changed = true;
                self.files.push(File {
                    path: path.into(),
                    digest: None,
                    content: Content::Read(Exposition::default()),
                    modified: None,
                });
                let last = self.files.len() - 1;
                self.files.swap(at, last);
            }
        }
        let Some(file) = self.files.get_mut(at) else { return };
        self.next += 1;
        let digest = (!is_too_large).then(|| {
            let [one, other] = self.hasher;
            [one.hash_one(&*buffer), other.hash_one(&*buffer)]
        });
        let has_room = |cost: usize| self.cost.saturating_add(cost) <= LARGEST_COST;
        let may_come_in = matches!(file.content, Content::NoRoom(cost) if has_room(cost));
        if digest.is_none() || file.digest != digest || may_come_in {
            self.has_changed |= file.is_read() || digest.is_some();
            self.cost -= file.content.cost();
            // Before the new content is made, so that the two are not there together.
            file.content = Content::Refused(Malformed::new(LARGEST_FILE, "the end of the file"));
            file.digest = digest;
            if !is_too_large {
                file.content = match parse(buffer) {
                    Ok(content) if self.cost + content.cost() > LARGEST_COST => {
                        Content::NoRoom(content.cost())
                    }
                    Ok(content) => Content::Read(content),
                    Err(malformed) => Content::Refused(malformed),
                };
            }
            self.cost += file.content.cost();
        }
        // Only now, so that a file that is written meanwhile does not look fresher than it is.
        file.modified = self.host.modified(path).ok().map(f64::trunc);
    }

    /// Forgets the files that were not met. Whether anything has changed.
    fn finish(self) -> bool {
        let has_changed = self.has_changed || self.files.len() > self.next;
        self.files.truncate(self.next);
        has_changed
    }
}

impl File {
    fn is_read(&self) -> bool {
        matches!(self.content, Content::Read(_))
    }

    /// The path as the label shows it.
    fn name(&self) -> &str {
        plain_name(&self.path)
    }
}

/// Takes a whole file. As in node_exporter, a sample in it has no time, since that would go stale.
fn parse(text: &[u8]) -> Result<Exposition, Malformed> {
    let exposition = exposition::parse(text, LARGEST_FILE_COST)?;
    match exposition.first_time() {
        Some(at) => Err(Malformed::new(at, "a newline after the value, and no time")),
        None => Ok(exposition),
    }
}

/// The path of a file without what tells the host that it is one.
fn plain_name(path: &str) -> &str {
    path.strip_prefix("file:").unwrap_or(path)
}

/// What is known of a family's name while a plan is made.
#[derive(Default)]
struct Named<'a> {
    help: Option<&'a [u8]>,
    /// A later file gave another help.
    is_contradicted: bool,
    files: Vec<&'a File>,
    /// Positions in the plan, one for each type that the files give it.
    shown: Vec<usize>,
}

impl Plan {
    fn of(files: &[File]) -> Plan {
        let mut plan = Plan::default();
        let mut by_name: HashMap<&[u8], Named<'_>> = HashMap::new();
        for (position, file) in files.iter().enumerate() {
            let Content::Read(content) = &file.content else { continue };
            for (family_position, family) in content.families().iter().enumerate() {
                let named = by_name.entry(content.name(family)).or_default();
                let help = content.help(family);
                let differs = |first| help.is_some_and(|help| help != first);
                if named.is_contradicted || named.help.is_some_and(differs) {
                    // From here on nothing more of that name is taken, as in node_exporter.
                    named.is_contradicted = true;
                    plan.contradictory.get_or_insert(position);
                    continue;
                }
                named.help = named.help.or(help);
                named.files.push(file);
                let same = |shown: &&usize| {
                    plan.families.get(**shown).is_some_and(|shown| shown.kind == family.kind)
                };
                let shown = match named.shown.iter().find(same) {
                    Some(shown) => *shown,
                    None => {
                        plan.families.push(Shown {
                            kind: family.kind,
                            help: 0..0,
                            parts: Vec::new(),
                        });
                        named.shown.push(plan.families.len() - 1);
                        plan.families.len() - 1
                    }
                };
                if let Some(shown) = plan.families.get_mut(shown) {
                    shown.parts.push((position, family_position));
                }
            }
        }
        for named in by_name.values() {
            let start = plan.helps.len();
            match named.help {
                Some(help) => plan.helps.extend_from_slice(help),
                None => {
                    plan.helps.extend_from_slice(b"Metric read from ");
                    for (position, file) in named.files.iter().enumerate() {
                        plan.helps.extend_from_slice(if position > 0 { b", " } else { b"" });
                        plan.helps.extend_from_slice(file.name().as_bytes());
                    }
                }
            }
            for shown in &named.shown {
                if let Some(shown) = plan.families.get_mut(*shown) {
                    shown.help = start..plan.helps.len();
                }
            }
        }
        plan
    }

    fn push(&self, files: &[File], batch: &mut Batch) {
        for shown in &self.families {
            let mut named = None;
            for (file, family) in &shown.parts {
                let Some(Content::Read(content)) = files.get(*file).map(|file| &file.content)
                else {
                    continue;
                };
                let Some(family) = content.families().get(*family) else { continue };
                let named = *named.get_or_insert_with(|| {
                    let help = self.helps.get(shown.help.clone()).unwrap_or_default();
                    batch.family(&[content.name(family)], shown.kind, &[help])
                });
                content.push(family, named, batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
                up{job=""} 0
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
        let at = "/t/b.prom: byte 13: expected a newline after the value, and no time";
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
        let failing = "/t/c.prom: Input/output error (os error 5)".to_owned();
        assert_eq!(fault("/t"), Some(failing));
        memory.remove("file:/t/c.prom");
        let malformed = "/t/b.prom: byte 6: expected a number".to_owned();
        assert_eq!(fault("/t"), Some(malformed));
        memory.write("file:/t/b.prom", "# HELP a One.\na 1\n");
        memory.write("file:/t/c.prom", "# HELP a Other.\na{c=\"\"} 1\n");
        let help = "/t/c.prom: a family has another help than in a file before it".to_owned();
        assert_eq!(fault("/t"), Some(help));
        memory.remove("file:/t/c.prom");
        assert_eq!(fault("/t"), None);
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

    #[test]
    fn a_file_that_is_too_large_is_refused_until_it_shrinks() {
        let memory = memory(&[("a.prom", "a 1\n")]);
        let mut collector = open::<Textfile>(&memory.host(), &directory("/t"));
        let mut fails = || render(&run(&mut collector, None).0).contains("scrape_error 1");
        assert!(!fails());
        memory.write("file:/t/a.prom", "#".repeat(LARGEST_FILE) + "\n");
        assert!(fails());
        memory.write("file:/t/a.prom", "");
        assert!(!fails());
    }

    #[test]
    fn all_files_together_have_room_and_each_its_share() {
        let memory = memory(&[("z.prom", "small 1\n")]);
        // Each costs three quarters of a share, so two fit beside the small one and a third does not.
        let big = |name: &str| {
            let label = "x".repeat(1000 - 64 - 1);
            format!("{name}{{a=\"{label}\"}} 1\n").repeat(LARGEST_FILE_COST * 3 / 4000)
        };
        let mut collector = open::<Textfile>(&memory.host(), &directory("/t"));
        let mut page = || {
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            let page = render(&batch);
            let names = ["a", "b", "c", "d", "small"];
            let shown = names.into_iter().filter(|name| page.contains(&format!("# {name} ")));
            let fails = page.contains("scrape_error 1");
            let too_large = "the files are too large together";
            assert_eq!(batch.fault().map(|fault| fault.error), fails.then_some(too_large));
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
        };
        assert!(!Textfile::may_block(&settings(&[])));
        assert!(!Textfile::may_block(&settings(&[""])));
        assert!(Textfile::may_block(&settings(&["", "/t"])));
    }
}
