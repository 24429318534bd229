//! `cargo xtask counted`: the program whose instructions `tests/system_budgets.rs` counts.
//!
//! Reading, parsing and encoding, as the daemon does it, but on one thread and at the caller's
//! word: nothing in it follows from threads, from the clock, or from what else a machine does.

use std::fs;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use vitald::encode::{Format, PageBuffer, PageWriter};
use vitald_core::collector::{Descriptor, Running, roll_call};
use vitald_core::host::{Host, Roots};
use vitald_core::run::{Run, Spares};
use vitald_core::settings::{Mistakes, Node, Origin, Table, Value};
use vitald_core::snapshot::{Collection, Part, State};

/// Scrapes before the first word: everything has its place then.
const WARM: usize = 20;

/// Scrapes a host whose files are in this folder, once for each line of standard input, and says so on standard output.
/// Numbers in its files are others from one scrape to the next.
pub(crate) fn run(host: &Path, collectors: &str) -> Result<String, String> {
    let mut scraper = Scraper::new(host, collectors)?;
    for _ in 0..WARM {
        scraper.scrape()?;
    }
    println!("{} samples, {} bytes", scraper.samples, scraper.page.as_ref().len());
    for line in std::io::stdin().lock().lines() {
        let scrapes = line.ok().and_then(|line| line.parse().ok()).unwrap_or(1);
        for _ in 0..scrapes {
            scraper.scrape()?;
        }
        let mut output = std::io::stdout();
        writeln!(output, "done")
            .and_then(|()| output.flush())
            .map_err(|error| error.to_string())?;
    }
    Ok("the end".to_owned())
}

/// A file, and what it says in turn.
struct Moving {
    path: PathBuf,
    texts: [Vec<u8>; 2],
}

struct Collecting {
    descriptor: &'static Descriptor,
    running: Box<dyn Running>,
    spares: Spares,
    last: Option<Arc<Run>>,
}

struct Scraper {
    collectors: Vec<Collecting>,
    files: Vec<Moving>,
    collection: Collection,
    pages: PageWriter,
    page: PageBuffer,
    samples: usize,
    scrapes: usize,
}

impl Scraper {
    fn new(folder: &Path, names: &str) -> Result<Scraper, String> {
        let host = Host::new(Roots {
            procfs: folder.join("proc"),
            sysfs: folder.join("sys"),
            rootfs: folder.join("rootfs"),
            udev: folder.join("udev"),
        });
        let all = roll_call(&[vitald_plugins::ROLL]).map_err(|error| error.to_string())?;
        let open = |descriptor: &'static Descriptor| {
            let mut table = Table::at(format!("collectors.{}", descriptor.name));
            if descriptor.name == "netdev" {
                // The interfaces of the host's files, and not this machine's.
                table
                    .entries
                    .insert("netlink".to_owned(), Value::new(Node::from(false), Origin::Default));
            }
            let mut mistakes = Mistakes::new();
            let prepared = (descriptor.prepare)(&table, &mut mistakes)
                .ok_or_else(|| format!("{}: {mistakes:?}", descriptor.name))?;
            let running =
                prepared.open(&host).map_err(|error| format!("{}: {error}", descriptor.name))?;
            let spares = Spares::new(descriptor.families);
            Ok(Collecting { descriptor, running, spares, last: None })
        };
        let is_wanted =
            |descriptor: &&Descriptor| names.split(',').any(|name| name == descriptor.name);
        let collectors: Result<Vec<Collecting>, String> =
            all.into_iter().filter(is_wanted).map(open).collect();
        let mut files = Vec::new();
        for name in [
            "stat",
            "meminfo",
            "vmstat",
            "diskstats",
            "net/dev",
            "net/netstat",
            "net/snmp",
            "net/snmp6",
            "net/sockstat",
            "loadavg",
        ] {
            let path = folder.join("proc").join(name);
            if let Ok(text) = fs::read(&path) {
                let texts = [moved(&text), text];
                files.push(Moving { path, texts });
            }
        }
        Ok(Scraper {
            collectors: collectors?,
            files,
            collection: Collection::new(),
            pages: PageWriter::new(None),
            page: PageBuffer::default(),
            samples: 0,
            scrapes: 0,
        })
    }

    fn scrape(&mut self) -> Result<(), String> {
        for Moving { path, texts } in &self.files {
            fs::write(path, &texts[self.scrapes % 2])
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        self.scrapes += 1;
        let now = Instant::now();
        for collecting in &mut self.collectors {
            let mut taken = collecting.spares.take();
            let run = Arc::get_mut(&mut taken).ok_or("a run that is kept is in use")?;
            run.begin(collecting.last.as_deref(), 0);
            run.set_fresh_from(Some(now));
            let state = match collecting.running.collect(run.batch()) {
                Ok(()) => State::Running,
                Err(_) => State::Absent,
            };
            run.seal();
            if let Some(last) = collecting.last.replace(Arc::clone(&taken)) {
                collecting.spares.keep(last);
            }
            self.collection.parts.push(Part {
                descriptor: collecting.descriptor,
                state,
                run_number: self.scrapes as u64,
                began: SystemTime::UNIX_EPOCH,
                duration: Duration::ZERO,
                age: Duration::ZERO,
                run: Some(taken),
            });
        }
        self.samples = self.collection.samples();
        self.pages.write(&mut self.collection, Format::Text, false, &mut self.page);
        Ok(())
    }
}

/// The same text with other numbers of the same length: the last digit of those that have four or more is another.
fn moved(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    let mut digits = 0;
    for position in 0..text.len() {
        digits = if text[position].is_ascii_digit() { digits + 1 } else { 0 };
        let ends = text.get(position + 1).is_none_or(|next| !next.is_ascii_alphanumeric());
        if digits >= 4 && ends {
            text[position] = if text[position] == b'9' { b'1' } else { text[position] + 1 };
        }
    }
    text
}
