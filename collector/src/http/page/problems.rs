//! What is wrong now, for the top of the status page.

use super::plugins::{Collector, Output, Overview, Unread};
use super::reasons;
use crate::privileges;

/// Something that is not as it should be.
pub(super) struct Problem<'a> {
    pub(super) of: Of<'a>,
    /// Whether samples or orders are lost, and not only some of them.
    pub(super) is_grave: bool,
    /// How it is, in a word.
    pub(super) state: &'a str,
    pub(super) why: String,
    /// Each part that could not be read, where there is more than one.
    pub(super) unread: &'a [Unread],
}

/// Whose problem it is.
pub(super) enum Of<'a> {
    Collector(&'a str),
    Output(&'a str),
    /// What of the host is not seen.
    Host(&'a str),
    Reload,
    WebConfig,
}

/// How a collector that is on is: its state, or that it gives less than there is.
pub(super) fn state(collector: &Collector) -> &'static str {
    let falls_short = collector.fault.is_some() || collector.degraded.is_some();
    if falls_short && collector.state == "running" { "degraded" } else { collector.state }
}

/// All there are, the grave ones first.
pub(super) fn of<'a>(overview: &'a Overview, web_configs: &[String]) -> Vec<Problem<'a>> {
    let blind = overview.blind.iter().map(|spot| Problem {
        of: Of::Host(spot.of_host()),
        is_grave: false,
        state: "not seen",
        why: spot.to_string(),
        unread: &[],
    });
    let mut all: Vec<Problem<'a>> = blind.collect();
    let collectors = overview.collectors.iter().filter(|collector| collector.enabled);
    all.extend(collectors.filter_map(|collector| of_collector(collector, overview.admin)));
    let outputs = overview.outputs.iter().filter(|output| output.enabled);
    all.extend(outputs.filter_map(|output| of_output(output, overview.admin)));
    if !overview.last_reload.succeeded {
        let trouble = overview.last_reload.trouble.as_deref();
        let why = trouble.unwrap_or("the log says why").to_owned();
        all.push(Problem { of: Of::Reload, is_grave: true, state: "failed", why, unread: &[] });
    }
    all.extend(web_configs.iter().map(|file| Problem {
        of: Of::WebConfig,
        is_grave: true,
        state: "not in force",
        why: format!(
            "what {file} says now cannot be used, so what it said before holds; the log says more"
        ),
        unread: &[],
    }));
    all.sort_by_key(|problem| !problem.is_grave);
    all
}

/// What is said to those who may not know the reason.
const FOR_ADMINS: &str = "administrators are shown why, and the log says it";

/// Why a collector is as it is, in a line of the table.
pub(super) fn note(collector: &Collector) -> String {
    if let Some(error) = &collector.error {
        return error.to_string();
    }
    let reason = reason(collector).map(reasons::missing);
    let all: Vec<&str> = reason.into_iter().chain(collector.fault.as_deref()).collect();
    all.join("; ")
}

/// Why it gives less than there is, beside what it cannot read.
fn reason(collector: &Collector) -> Option<&'static str> {
    collector.degraded.filter(|reason| *reason != "fault")
}

fn of_collector(collector: &Collector, to_admin: bool) -> Option<Problem<'_>> {
    let state = state(collector);
    let is_grave = match state {
        "failing" | "panicked" | "timed_out" => true,
        "degraded" => false,
        // Most hosts lack what most collectors are for. It is a problem where the configuration asks for it.
        "absent" if collector.asked_for => false,
        _ => return None,
    };
    let lacked = || privileges::missing(collector.descriptor);
    let mut why = Vec::new();
    match (collector.error.as_deref(), state) {
        (Some(error), "absent") if to_admin => {
            why.push(format!("it is switched on, and this host has no such source: {error}"));
        }
        (_, "absent") => why.push("it is switched on, and this host has no such source".to_owned()),
        (Some(_), _) if !to_admin => why.push(format!("its last run failed; {FOR_ADMINS}")),
        (Some(error), _) => {
            why.push(error.to_owned());
            why.extend(reasons::capabilities(error, &lacked()));
        }
        (None, "timed_out") => {
            let out = match collector.out_seconds {
                Some(out) => format!("a run that began {out:.0} s ago has not come back"),
                None => "it has not come back in time".to_owned(),
            };
            why.push(format!(
                "{out}; its samples are missing, and no scrape waits for it, until it does"
            ));
        }
        (None, _) => {}
    }
    if let Some(reason) = reason(collector) {
        let remedy = reasons::capabilities(reason, &lacked());
        let remedy = remedy.unwrap_or_else(|| reasons::remedy(reason).to_owned());
        let between = if remedy.is_empty() { "" } else { "; " };
        why.push(format!("{}{between}{remedy}", reasons::missing(reason)));
    }
    // One is in the fault.
    let unread = Some(&*collector.unread).filter(|unread| unread.len() > 1).unwrap_or_default();
    match (unread.len(), collector.unread_more) {
        (0, _) => {
            why.extend(collector.fault.as_deref().map(str::to_owned));
            let fault = collector.fault.as_deref();
            why.extend(fault.and_then(|fault| reasons::capabilities(fault, &lacked())));
        }
        (listed, 0) => why.push(format!("{listed} parts of its source cannot be read")),
        (listed, more) => why.push(format!(
            "some {} parts of its source cannot be read, among them",
            listed + more as usize
        )),
    }
    let of = Of::Collector(collector.name);
    Some(Problem { of, is_grave, state, why: why.join("\n"), unread })
}

fn of_output(output: &Output, to_admin: bool) -> Option<Problem<'_>> {
    let (state, why) = match &output.error {
        Some(_) if !to_admin => ("failing", format!("it cannot send; {FOR_ADMINS}")),
        Some(error) => ("failing", error.clone()),
        None if output.stuck => ("stuck", "what it sends to does not answer".to_owned()),
        None if output.ended => ("ended", "it has ended; the log says why".to_owned()),
        None => return None,
    };
    Some(Problem { of: Of::Output(&output.name), is_grave: true, state, why, unread: &[] })
}
