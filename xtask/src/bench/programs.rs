//! The programs that are measured: where they are, and how they are started.

use super::figures::Size;
use super::names::{COLLECTD, READER, THEIRS, VITALD};
use super::options::Options;
use super::work::{self, Work};
use crate::system::cost::{Target, scrape};
use crate::system::namespaces::Namespaces;
use crate::system::page::Page;
use crate::system::peer::{NODE_EXPORTER, Peer};
use crate::system::process;
use crate::system::trace::{each_call, system_calls};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Scrapes after which a program does the same each time, and the few and the time that are enough on a host where they
/// take long.
const WARM: usize = 20;
const FEW: usize = 3;
const LONG: Duration = Duration::from_secs(2);
/// Scrapes that strace looks at.
const TRACED: usize = 100;

/// Where the programs are.
pub(crate) struct Programs {
    pub(crate) vitald: PathBuf,
    pub(crate) node_exporter: Option<PathBuf>,
    pub(crate) collectd: Option<PathBuf>,
    /// Whether strace is there and may look at processes.
    pub(crate) strace: bool,
    /// Where they run, if not where this program does; who starts them has to be in the network namespace.
    pub(crate) namespaces: Option<Namespaces>,
    /// What has been written for the programs, and their textfiles.
    directory: tempfile::TempDir,
}

/// A program that runs until the value ends.
pub(crate) struct Running {
    pub(crate) target: Target,
    _peer: Peer,
}

impl Programs {
    pub(crate) fn find(options: &Options, vitald: PathBuf) -> Result<Programs, String> {
        let is_root = rustix::process::geteuid().is_root();
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let node_exporter = options.node_exporter.clone();
        let there = Some(PathBuf::from(NODE_EXPORTER)).filter(|path| path.is_file());
        let programs = Programs {
            vitald,
            node_exporter: node_exporter.or(there).or_else(|| found("node_exporter")),
            collectd: options.collectd.clone().or_else(|| found("collectd")),
            strace: is_root && found("strace").is_some(),
            namespaces: None,
            directory,
        };
        fs::create_dir(programs.textfiles()).map_err(|error| error.to_string())?;
        Ok(programs)
    }

    /// What a full run needs and is not here.
    pub(crate) fn missing(&self) -> Vec<String> {
        let missing = [
            (self.node_exporter.is_some(), "node_exporter is not installed"),
            (self.collectd.is_some(), "collectd is not installed"),
            (self.strace, "system calls cannot be counted, which takes root and strace"),
        ];
        missing
            .into_iter()
            .filter(|(is_there, _)| !is_there)
            .map(|(_, what)| what.to_owned())
            .collect()
    }

    fn command(&self, program: &Path) -> Command {
        self.namespaces.as_ref().map_or_else(|| Command::new(program), |it| it.command(program))
    }

    pub(crate) fn textfiles(&self) -> PathBuf {
        self.directory.path().join("textfiles")
    }

    /// vitald, with a configuration that does not say where to listen.
    pub(crate) fn start_vitald(&self, name: &'static str, config: &str) -> Running {
        self.write_config(config);
        self.start_vitald_again(name)
    }

    /// What vitald is started with next.
    pub(crate) fn write_config(&self, config: &str) {
        let listen = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
        fs::write(self.config_file(), format!("{config}{listen}")).expect("the configuration");
    }

    /// vitald with the configuration that was written last.
    pub(crate) fn start_vitald_again(&self, name: &'static str) -> Running {
        let mut command = self.command(&self.vitald);
        command.arg("run").arg("--config").arg(self.config_file());
        Running::of(name, Peer::start(command))
    }

    fn config_file(&self) -> PathBuf {
        self.directory.path().join("vitald.toml")
    }

    /// node_exporter, where it is installed.
    pub(crate) fn start_node_exporter(&self, flags: &[String]) -> Option<Running> {
        let mut command = self.command(self.node_exporter.as_ref()?);
        command.args(flags);
        Some(Running::of(THEIRS, Peer::start(command)))
    }

    /// collectd. It reads at an interval of its own, and not for a scrape.
    pub(crate) fn start_collectd(&self, program: &Path, rate: f64) -> Result<Running, String> {
        const PLUGINS: &str =
            "contextswitch cpu df disk interface load memory protocols swap uptime vmem";
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let base = self.directory.path().display();
        let mut config =
            format!("BaseDir \"{base}\"\nPIDFile \"{base}/pid\"\nInterval {}\n", 1.0 / rate);
        // Where it is not installed at the root of the system, what belongs to it is beside it.
        if let Some(prefix) = program.parent().and_then(Path::parent) {
            let (plugins, types) =
                (prefix.join("lib/collectd"), prefix.join("share/collectd/types.db"));
            config += &format!("PluginDir {plugins:?}\nTypesDB {types:?}\n");
        }
        for plugin in PLUGINS.split(' ') {
            config += &format!("LoadPlugin {plugin}\n");
        }
        config += &format!(
            "LoadPlugin write_prometheus\n<Plugin write_prometheus>\n  Host \"{}\"\n  Port \"{}\"\n</Plugin>\n",
            address.ip(),
            address.port()
        );
        let file = self.directory.path().join("collectd.conf");
        fs::write(&file, config).expect("the configuration");
        let mut command = Command::new(program);
        command.arg("-f").arg("-C").arg(file);
        Ok(Running::of(COLLECTD, Peer::start_at(command, address)?))
    }

    /// What the bare reader has to do to read what vitald reads with this configuration, where strace may look.
    pub(crate) fn work(&self, config: &str) -> Option<Work> {
        let mut vitald = self.strace.then(|| self.start_vitald(VITALD, config))?;
        vitald.warm();
        Some(Work { bytes: vitald.target.client.page().len(), ..vitald.work() })
    }

    pub(crate) fn start_reader(&self, work: &Work) -> Running {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["bench", "--reader"]).args(work.arguments());
        Running::of(READER, Peer::start(command))
    }
}

impl Running {
    fn of(name: &'static str, peer: Peer) -> Running {
        Running { target: Target::new(name, peer.pid(), peer.address()), _peer: peer }
    }

    pub(crate) fn warm(&mut self) {
        let begun = Instant::now();
        let is_needed = |number: &usize| *number < FEW || begun.elapsed() < LONG;
        (0..WARM).take_while(is_needed).for_each(|_| scrape(&mut self.target.client, 1));
    }

    /// Milliseconds from `begun` to the end of its first page.
    pub(crate) fn first_page(&mut self, begun: Instant) -> f64 {
        scrape(&mut self.target.client, 1);
        begun.elapsed().as_secs_f64() * 1e3
    }

    /// What it is like now.
    pub(crate) fn size(&mut self) -> Size {
        let text = self.target.client.page();
        let samples =
            text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        // The bare reader's page has no samples, and collectd's have times and are all of the host.
        let page = match self.target.name {
            READER | COLLECTD => None,
            _ => Some(Page::parse(&text)),
        };
        let of_host = || page.iter().flat_map(Page::of_host);
        let process = self.target.process;
        let kib = |key| process::status(process, process, key).unwrap_or(0);
        Size {
            name: self.target.name,
            of_host: if page.is_some() { of_host().count() } else { samples },
            samples,
            families: of_host().map(|series| series.name.clone()).collect(),
            bytes: text.len(),
            resident_kib: kib("VmRSS"),
            peak_kib: kib("VmHWM"),
            threads: process::threads(process).len(),
            calls: None,
        }
    }

    /// What it reads, and of which file systems it asks the space. What is measured after this is disturbed.
    pub(crate) fn work(&mut self) -> Work {
        let Target { process, client, .. } = &mut self.target;
        let filter = format!("trace={}", work::CALLS.join(","));
        let calls = each_call(*process, &filter, || scrape(client, TRACED));
        Work::of_calls(&calls, *process, TRACED)
    }

    /// The system calls of a scrape, by name. What is measured after this is disturbed.
    pub(crate) fn calls(&mut self) -> BTreeMap<String, f64> {
        let client = &mut self.target.client;
        let (calls, _) = system_calls(self.target.process, || scrape(client, TRACED));
        calls.into_iter().map(|(name, times)| (name, times as f64 / TRACED as f64)).collect()
    }
}

/// A program by its name, as a shell finds it, and where only root looks.
fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}
