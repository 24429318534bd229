//! A target for each collector in the registry: a script happens to a host, and the collector runs
//! between its events, so that what it keeps from run to run meets what it did not expect.

use crate::Target;
use crate::exposition_reader;
use crate::fixture_host::supervisord_answer;
use crate::script::{BUS, CHUNKS, COLLECT, COPY, Reader, SEPARATOR, SERVICE, Stage, WRITE};
use std::sync::{Arc, Mutex};
use vitald::encode::{Encoder, Format};
use vitald::plan::CollectorPlan;
use vitald_core::collector::{Descriptor, Running, roll_call};
use vitald_core::run::Run;
use vitald_core::settings::Setting;
use vitald_core::testing::snapshot;

/// Collectors that do not read through `Host`, so that no host in memory is theirs.
const LIVE: [&str; 1] = ["portable"];

/// The most collections of one input: more find nothing that these do not.
const MOST_COLLECTIONS: usize = 8;

/// Every collector of this build.
pub fn registered() -> Vec<&'static Descriptor> {
    roll_call(&[vitald_plugins::ROLL]).expect("the roll and the linked collectors agree")
}

pub fn targets() -> Vec<Target> {
    let of_files = registered().into_iter().filter(|it| !LIVE.contains(&it.name));
    of_files.map(target).collect()
}

fn target(descriptor: &'static Descriptor) -> Target {
    let bus = descriptor.sources.iter().find_map(|source| source.strip_prefix("bus "));
    let bus = bus.map(|service| format!("/{}", service.replace('.', "/")));
    let stage = Stage::new(sources(descriptor), bus);
    let seeds = seeds(descriptor, &stage);
    let planner = Planner { descriptor, last: Mutex::default() };
    Target {
        name: descriptor.name.to_owned(),
        seeds,
        run: Box::new(move |bytes| run(&planner, &stage, bytes)),
    }
}

/// The sources that are files, as patterns of logical paths.
fn sources(descriptor: &Descriptor) -> Vec<String> {
    let mut patterns = Vec::new();
    for source in descriptor.sources {
        match source.split('/').next() {
            Some("proc" | "sys" | "udev" | "rootfs") => patterns.push((*source).to_owned()),
            Some("") => patterns.push(format!("file:{source}")),
            _ => {}
        }
    }
    if descriptor.name == "textfile" {
        // Its user says where they are.
        patterns.push("file:/var/lib/node_exporter/*.prom".to_owned());
    }
    patterns
}

/// Tables of settings to begin with: the defaults, everything that can be switched on and off, and
/// what else gives a collector more to do.
fn settings(descriptor: &'static Descriptor) -> Vec<String> {
    let switched = |on: bool| {
        let switches = descriptor.settings.iter().filter(|setting| setting.kind == bool::KIND);
        switches.map(|setting| format!("{} = {on}\n", setting.key)).collect::<String>()
    };
    let mut settings = vec![switched(true), switched(false), "max_series = 3\n".to_owned()];
    for setting in descriptor.settings {
        settings.push(format!("{}{} = '.*'\n", switched(true), setting.key));
    }
    match descriptor.name {
        "textfile" => settings.push("directory = ['/var/lib/*', '/not/there']\n".to_owned()),
        "process_groups" => settings.push(
            "top_groups = 1\ntop_by = 'cpu'\nrules = [{ name = '${unit}', cgroup = '/(?P<unit>[^/]+)\\.service' }, \
             { name = '${user}: ${comm}', user = 'www-data' }, { name = '${p}', command_line = '^(?P<p>[^ ]+)' }]\n"
                .to_owned(),
        ),
        _ => {}
    }
    let planner = Planner { descriptor, last: Mutex::default() };
    settings.retain(|settings| planner.decode(settings).is_some());
    settings.insert(0, String::new());
    settings
}

/// Every host with every table of settings; and the content of each file written anew, so that
/// there is a text to change.
fn seeds(descriptor: &'static Descriptor, stage: &Stage) -> Vec<Vec<u8>> {
    let settings = settings(descriptor);
    let most = settings.last().map(String::as_bytes).unwrap_or_default();
    let mut seeds = Vec::new();
    for host in 0..stage.hosts() {
        let begin = |settings: &[u8], chunk: u8| {
            let mut seed = settings.to_vec();
            seed.extend_from_slice(&[SEPARATOR, host as u8, chunk]);
            seed
        };
        seeds.extend(settings.iter().map(|settings| begin(settings.as_bytes(), 0)));
        seeds.push(begin(most, 16));
        // Reads of many lengths, and beside a directory or two that the host has others with a name
        // that is not UTF-8.
        let mut others = begin(most, 0);
        others.extend_from_slice(&[SEPARATOR, CHUNKS, 1, 0]);
        for above in [1, 2] {
            others
                .extend_from_slice(&[SEPARATOR, COPY, 0, 0, above, b'a', 0xfe, SEPARATOR, COLLECT]);
        }
        seeds.push(others);
        match descriptor.name {
            "ntp" => {
                // Another stratum, another reference, another time.
                for (at, new) in [(1, vec![16]), (12, b"GPS\0".to_vec()), (32, vec![0x80; 16])] {
                    let event = [vec![SEPARATOR, SERVICE, 0, at], new].concat();
                    seeds.push([begin(most, 0), event].concat());
                }
            }
            "supervisord" => {
                let event = [vec![SEPARATOR, SERVICE, 1], supervisord_answer()].concat();
                seeds.push([begin(most, 0), event].concat());
            }
            _ => {}
        }
        let mut all = begin(most, 0);
        for (number, content) in stage.contents(host).enumerate() {
            let [low, high] = (number as u16).to_le_bytes();
            let mut write = vec![SEPARATOR, WRITE, low, high];
            write.extend(content.iter().filter(|byte| **byte != SEPARATOR));
            if content.len() < 8192 && number < 40 {
                seeds.push([begin(most, 0).as_slice(), &write].concat());
            }
            all.extend_from_slice(&write);
            all.extend_from_slice(&[SEPARATOR, COLLECT]);
        }
        for (number, (types, bytes)) in stage.replies(host).into_iter().enumerate() {
            let [low, high] = (number as u16).to_le_bytes();
            // Many replies are the same but for their object.
            if number < 40 {
                let mut reply = begin(most, 0);
                reply.extend_from_slice(&[SEPARATOR, BUS, low, high, 2]);
                reply.extend_from_slice(types.as_bytes());
                reply.push(b'\n');
                reply.extend(bytes.iter().filter(|byte| **byte != SEPARATOR));
                seeds.push(reply);
            }
        }
        if all.len() < 16384 {
            seeds.push(all);
        }
    }
    seeds
}

/// Decodes tables of settings, and keeps the last one: an input seldom changes it.
struct Planner {
    descriptor: &'static Descriptor,
    last: Mutex<Option<(Vec<u8>, CollectorPlan)>>,
}

impl Planner {
    /// The plan of that table, or that of an empty one if it is refused.
    fn plan(&self, settings: &[u8]) -> CollectorPlan {
        let mut last = self.last.lock().expect("a panic ends the fuzzer");
        if let Some((known, plan)) = &*last
            && known == settings
        {
            return plan.clone();
        }
        let text = String::from_utf8_lossy(settings);
        let plan = self.decode(&text).or_else(|| self.decode(""));
        let plan = plan.expect("a collector has defaults");
        *last = Some((settings.to_vec(), plan.clone()));
        plan
    }

    fn decode(&self, settings: &str) -> Option<CollectorPlan> {
        let text = format!("[collectors.{}]\n{settings}", self.descriptor.name);
        let plan = vitald::config::load_text("fuzz", &text, &[], &[self.descriptor], &[]).ok()?;
        plan.collectors.into_iter().next()
    }
}

fn run(planner: &Planner, stage: &Stage, bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == SEPARATOR);
    let plan = planner.plan(parts.next().unwrap_or_default());
    let mut scene = stage.scene(parts.next().unwrap_or_default());
    let Ok(mut collector) = plan.prepared.open(&scene.memory.host()) else { return };
    let mut encoder = Encoder::new(Format::Text);
    let mut last = collect(&mut *collector, &plan, None, &mut encoder);
    let mut collections = 1;
    let mut changed = false;
    for event in parts {
        let collect_now = scene.happen(event);
        changed |= !collect_now;
        if collect_now && collections < MOST_COLLECTIONS {
            collections += 1;
            last = collect(&mut *collector, &plan, Some(&last), &mut encoder);
            changed = false;
        }
    }
    if changed {
        last = collect(&mut *collector, &plan, Some(&last), &mut encoder);
    }
    collect(&mut *collector, &plan, Some(&last), &mut encoder);
}

/// Runs once, and checks that the page is one and that all of it was declared.
fn collect(
    collector: &mut dyn Running,
    plan: &CollectorPlan,
    last: Option<&Arc<Run>>,
    encoder: &mut Encoder,
) -> Arc<Run> {
    let descriptor = plan.descriptor;
    let mut run = Run::new(descriptor.families);
    run.begin(last.map(|run| &**run), plan.max_series);
    // What it says of a failure is written, too: it may cut texts.
    let _said = collector.collect(run.batch()).map_err(|error| error.to_string());
    run.seal();
    if plan.max_series > 0 {
        assert!(run.len() <= plan.max_series as usize + 64, "{} samples", run.len());
    }
    let run = Arc::new(run);
    let mut page = Vec::new();
    encoder.encode(&snapshot([&run]), &mut page);
    if last.is_some_and(|last| last.shape().id() == run.shape().id()) {
        // A page is one or not by its series.
        return run;
    }
    if let Err(wrong) = exposition_reader::read(&page) {
        panic!("not a page: {wrong}");
    }
    for (series, _) in run.samples() {
        let name = series.family_name();
        match descriptor.families.iter().find(|family| family.name.as_bytes() == name) {
            Some(declared) => assert_eq!(declared.kind, series.kind(), "{}", declared.name),
            None => {
                let mut covering = descriptor.patterns.iter().filter(|it| it.covers(name));
                let is_declared = covering.any(|pattern| pattern.kinds.contains(&series.kind()));
                assert!(is_declared, "{} is not declared", name.escape_ascii());
            }
        }
    }
    run
}

/// For targets that want a text and not a script: the whole input as the only file of textfile.
pub fn textfile(exposition: &[u8]) {
    static TARGET: std::sync::OnceLock<(Planner, Stage)> = std::sync::OnceLock::new();
    let (planner, stage) = TARGET.get_or_init(|| {
        let all = registered();
        let descriptor = all.iter().find(|it| it.name == "textfile").expect("it is registered");
        let planner = Planner { descriptor, last: Mutex::default() };
        (planner, Stage::new(Vec::new(), None))
    });
    let scene = stage.scene(&[]);
    scene.memory.write("file:/textfiles/a.prom", exposition);
    let plan = planner.plan(b"directory = ['/textfiles']\n");
    let mut collector = plan.prepared.open(&scene.memory.host()).expect("it opens");
    let mut encoder = Encoder::new(Format::Text);
    let last = collect(&mut *collector, &plan, None, &mut encoder);
    scene.memory.set_chunk(usize::from(Reader(exposition).u8()) + 1);
    let again = collect(&mut *collector, &plan, Some(&last), &mut encoder);
    let same = last.shape().id() == again.shape().id();
    assert!(same, "short reads make another page");
}
