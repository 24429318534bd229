//! Whether two daemons on one host say the same of it, series by series.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::ask;
use crate::system::page::{Page, Series};

/// What a daemon says of itself and of its own work.
const OWN: [&str; 4] =
    ["vitald_", "process_", "promhttp_", "node_scrape_collector_duration_seconds"];
/// Counted from when the daemon first saw the group, so the values are each daemon's own.
const COUNTED_SINCE_START: &str = "namedprocess_";
/// The cpu collector lets no counter go back, as far as it has seen it; the kernel does.
const CPU_SECONDS: (&str, f64) = ("node_cpu_seconds_total", 0.05);
/// Figures change between scrapes; what differs for this many rounds differs.
const ROUNDS: usize = 30;
const PAUSE: Duration = Duration::from_millis(50);

/// What a daemon says of the host.
pub fn page_of_host(daemon: SocketAddr) -> Page {
    let answer = ask(daemon, "GET", "/metrics", &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut page = Page::parse(&answer.body);
    let of_host = |name: &str| !OWN.iter().any(|prefix| name.starts_with(prefix));
    page.kinds.retain(|name, _| of_host(name));
    page.samples.retain(|series, _| of_host(&series.name));
    page
}

/// Fails unless a daemon says what the reference says: the same types, names and labels, and of each
/// series the same value, or for a counter one between those of the scrapes before and after.
/// Neither may answer with the results of an earlier request (`max_age = "0s"`). Answers a page.
#[track_caller]
pub fn assert_agree(reference: SocketAddr, tested: SocketAddr) -> Page {
    let mut lasting: Option<BTreeMap<Series, String>> = None;
    for round in 1..=ROUNDS {
        let before = page_of_host(reference);
        let page = page_of_host(tested);
        let after = page_of_host(reference);
        let mut found = differences(&before, &page, &after);
        if let Some(lasting) = &lasting {
            found.retain(|series, _| lasting.contains_key(series));
        }
        if found.is_empty() {
            println!("{} series agree after {round} rounds", page.samples.len());
            return page;
        }
        lasting = Some(found);
        std::thread::sleep(PAUSE);
    }
    let list: Vec<String> = lasting
        .unwrap_or_default()
        .into_iter()
        .map(|(series, difference)| format!("{} {:?}: {difference}", series.name, series.labels))
        .collect();
    panic!("{} series differ in every one of {ROUNDS} rounds:\n{}", list.len(), list.join("\n"));
}

fn differences(before: &Page, page: &Page, after: &Page) -> BTreeMap<Series, String> {
    let mut found = BTreeMap::new();
    let mut differs = |series: &Series, how: String| drop(found.insert(series.clone(), how));
    for (series, &value) in &page.samples {
        let (Some(&first), Some(&last)) = (before.samples.get(series), after.samples.get(series))
        else {
            let is_known =
                before.samples.contains_key(series) || after.samples.contains_key(series);
            if !is_known {
                differs(series, "is there beside the reference's".to_owned());
            }
            continue;
        };
        let kind = page.kinds.get(&series.name);
        let kinds = [before.kinds.get(&series.name), after.kinds.get(&series.name)];
        if kinds != [kind; 2] {
            differs(series, format!("is of type {kind:?}, not {kinds:?}"));
        }
        let is_counter = kind.is_some_and(|kind| kind == "counter");
        let slack = if series.name == CPU_SECONDS.0 { CPU_SECONDS.1 } else { 0.0 };
        let agrees = if series.name.starts_with(COUNTED_SINCE_START) && is_counter {
            true
        } else if is_counter && first <= last {
            (first - slack..=last + slack).contains(&value)
        } else {
            first.to_bits() != last.to_bits() || value.to_bits() == first.to_bits()
        };
        if !agrees {
            differs(series, format!("is {value}, not between {first} and {last}"));
        }
    }
    for series in before.samples.keys().filter(|series| after.samples.contains_key(series)) {
        if !page.samples.contains_key(series) {
            differs(series, "is missing".to_owned());
        }
    }
    found
}
