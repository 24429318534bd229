//! What each collector takes, by each program's own account.

use super::figures::OfCollector;
use super::names::VITALD;
use super::options::Options;
use super::programs::{Programs, Running};
use super::progress::say;
use super::sets::DEFAULT;
use crate::system::client::PLAIN_TEXT;
use crate::system::cost::scrape;
use crate::system::page::Page;
use crate::system::statistics::median;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) fn collectors(programs: &Programs, options: &Options) -> Vec<OfCollector> {
    say("each collector");
    let config = DEFAULT.config(&programs.textfiles(), &[]);
    let mut ours = programs.start_vitald(VITALD, &config);
    let mut theirs = programs.start_node_exporter(&DEFAULT.flags(&programs.textfiles()));
    ours.warm();
    theirs.iter_mut().for_each(Running::warm);
    let mut durations: BTreeMap<String, [Vec<f64>; 2]> = BTreeMap::new();
    for _ in 0..options.effort.scrapes_of_collectors {
        // Far enough apart to find nothing warm.
        std::thread::sleep(Duration::from_millis(100));
        if let Some(theirs) = &mut theirs {
            let page = Page::parse(&theirs.target.client.page());
            for (series, seconds) in page.family("node_scrape_collector_duration_seconds") {
                let name = series.label("collector").unwrap_or_default().to_owned();
                durations.entry(name).or_default()[0].push(seconds * 1e6);
            }
        }
        let client = &mut ours.target.client;
        client.accepts = PLAIN_TEXT;
        scrape(client, 1);
        client.accepts = "Accept: application/json\r\n";
        let answer: serde_json::Value =
            serde_json::from_str(&client.get("/plugins")).expect("JSON");
        for collector in answer["collectors"].as_array().into_iter().flatten() {
            let name = collector["name"].as_str().unwrap_or_default().to_owned();
            if let Some(seconds) = collector["duration_seconds"].as_f64() {
                durations.entry(name).or_default()[1].push(seconds * 1e6);
            }
        }
    }
    let of = |durations: &[f64]| (!durations.is_empty()).then(|| median(durations));
    let row = |(name, [there, here]): (String, [Vec<f64>; 2])| OfCollector {
        name,
        there: of(&there),
        here: of(&here),
    };
    durations.into_iter().map(row).collect()
}
