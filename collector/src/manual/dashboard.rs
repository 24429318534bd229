//! A dashboard for Grafana, from the charts of the collectors.
//!
//! Its queries name no label of vitald's own, so that it shows hosts of node_exporter as well.

use crate::charts::{Scope, query, rank};
use crate::own;
use serde_json::{Value, json};
use vitald_core::chart::{Chart, Curve, Figure, Measure, derived, is_date};
use vitald_core::collector::Descriptor;
use vitald_core::family::{FamilyPattern, Kind, Unit};

/// How panels are asked for one host, over the time that Grafana thinks fit for the zoom.
const SCOPE: Scope<'_> =
    Scope { matchers: "job=\"$job\",instance=\"$instance\"", range: "$__rate_interval" };
/// A metric that every host has, whichever collectors are on.
const OF_EVERY_HOST: &str = "node_exporter_build_info";
/// Grafana's screen has 24 columns.
const COLUMNS: usize = 24;
const WIDTH: usize = 12;
const HEIGHT: usize = 8;
/// Of more curves than this nobody knows which is which.
const MOST_CURVES: usize = 12;
/// As many curves are named in a title.
const MOST_NAMES: usize = 3;

/// The dashboard as JSON: a row for each collector, those open that are on by default and say what people look at first.
pub fn dashboard(collectors: &[&'static Descriptor]) -> String {
    let mut shown: Vec<&Descriptor> =
        collectors.iter().copied().filter(|descriptor| !descriptor.internal).collect();
    shown.sort_by_key(|descriptor| (!descriptor.enabled, rank(descriptor)));
    // Behind what is open.
    let at = shown.partition_point(|descriptor| descriptor.enabled);
    shown.splice(at..at, [&own::VITALD, &own::process::PROCESS]);
    let mut panels = Panels::default();
    shown.into_iter().for_each(|descriptor| panels.add(descriptor));
    let dashboard = json!({
        "id": null,
        "uid": "vitald-hosts",
        "title": "Hosts",
        "description": "Generated from the charts of vitald's collectors; hosts of node_exporter are shown, too.",
        "tags": ["vitald"],
        "schemaVersion": 39,
        "editable": true,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [
            {
                "name": "datasource", "label": "Data source", "type": "datasource",
                "query": "prometheus",
            },
            variable("job", "Job", &format!("label_values({OF_EVERY_HOST}, job)")),
            variable("instance", "Host", &format!("label_values({OF_EVERY_HOST}{{job=\"$job\"}}, instance)")),
        ] },
        "panels": panels.made,
    });
    by_line(dashboard) + "\n"
}

/// A choice among what Prometheus knows, looked up again when the time that is shown changes.
fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query",
        "datasource": data_source(),
        "query": { "query": query, "refId": name },
        "refresh": 2, "sort": 1,
    })
}

fn data_source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// JSON with a line for each panel, so that who compares two of them sees which panels have changed.
fn by_line(mut value: Value) -> String {
    let panels = value.as_object_mut().and_then(|members| members.remove("panels"));
    let text = value.to_string();
    match (panels, text.strip_suffix('}')) {
        (Some(Value::Array(panels)), Some(members)) => {
            let lines: Vec<String> =
                panels.into_iter().map(|panel| "\n".to_owned() + &by_line(panel)).collect();
            format!("{members},\"panels\":[{}]}}", lines.join(","))
        }
        _ => text,
    }
}

/// Panels one after the other, from left to right.
#[derive(Default)]
struct Panels {
    made: Vec<Value>,
    /// Where the next row begins.
    y: usize,
    last_id: usize,
}

impl Panels {
    fn add(&mut self, descriptor: &Descriptor) {
        let panels = panels_of(descriptor);
        if panels.is_empty() {
            return;
        }
        let is_open = descriptor.enabled && !descriptor.charts.is_empty();
        let title = format!("{}: {}", descriptor.name, descriptor.summary);
        let row = json!({ "type": "row", "title": title, "collapsed": !is_open, "panels": [] });
        let mut row = self.placed(row, (0, self.y), (COLUMNS, 1));
        let top = self.y + 1;
        let lines = panels.len().div_ceil(COLUMNS / WIDTH);
        let placed: Vec<Value> = panels
            .into_iter()
            .enumerate()
            .map(|(number, panel)| {
                let (x, line) = (number * WIDTH % COLUMNS, number * WIDTH / COLUMNS);
                self.placed(panel, (x, top + line * HEIGHT), (WIDTH, HEIGHT))
            })
            .collect();
        self.y = top;
        if is_open {
            self.y += lines * HEIGHT;
            self.made.push(row);
            self.made.extend(placed);
        } else {
            // Grafana has what is not shown in its row.
            row["panels"] = Value::Array(placed);
            self.made.push(row);
        }
    }

    fn placed(
        &mut self,
        mut panel: Value,
        (x, y): (usize, usize),
        (width, height): (usize, usize),
    ) -> Value {
        self.last_id += 1;
        panel["id"] = json!(self.last_id);
        panel["gridPos"] = json!({ "x": x, "y": y, "w": width, "h": height });
        panel
    }
}

/// What is shown of a collector: its charts, or what can be made of its families.
fn panels_of(descriptor: &Descriptor) -> Vec<Value> {
    let unit = |name: &str| {
        let family = descriptor.families.iter().find(|family| family.name == name);
        family.map_or_else(|| Unit::of_name(name.as_bytes()), |family| family.unit)
    };
    let said = descriptor.families.iter().map(|family| family.name);
    if !descriptor.charts.is_empty() {
        let charts = descriptor.charts.iter();
        let charts = charts.flat_map(|chart| panels_of_chart(chart, Some(chart.title), &unit));
        return charts.chain(said.filter(|name| is_beside_charts(name)).map(table)).collect();
    }
    let charts = derived(descriptor.name, descriptor.families);
    let charts = charts.iter().flat_map(|chart| panels_of_chart(chart, None, &unit));
    let patterns = descriptor.patterns.iter().filter_map(panel_of_pattern);
    let said = said.filter(|name| name.ends_with("_info")).map(table);
    charts.chain(patterns).chain(said).collect()
}

/// A panel for each of the axes of a chart's curves: a panel has one.
fn panels_of_chart(chart: &Chart, title: Option<&str>, unit: &dyn Fn(&str) -> Unit) -> Vec<Value> {
    let mut groups: Vec<(Axis, Vec<&Curve>)> = Vec::new();
    for curve in chart.curves {
        let axis = Axis::of(&curve.figure, unit);
        let fitting =
            groups.iter_mut().find(|(known, curves)| *known == axis && curves.len() < MOST_CURVES);
        match fitting {
            Some((_, curves)) => curves.push(curve),
            None => groups.push((axis, vec![curve])),
        }
    }
    let is_alone = groups.len() == 1;
    let panel = |(axis, curves): (Axis, Vec<&Curve>)| {
        let title = match title {
            Some(title) if is_alone => title.to_owned(),
            Some(title) => format!("{title}: {}", names(&curves)),
            None => names(&curves),
        };
        let targets: Vec<(String, String)> = curves
            .iter()
            .map(|curve| (axis.expression(query(chart, curve, SCOPE)), legend(chart, curve)))
            .collect();
        match axis.drawing {
            Drawing::Dates => dates(&title, axis.unit, &targets),
            Drawing::States => states(&title, &targets),
            Drawing::Curves => {
                // What is a share of one whole each is stacked to the whole.
                let is_whole = curves.iter().all(|curve| matches!(curve.figure, Figure::Share(_)));
                time_series(&title, axis.unit, is_whole && chart.by.is_empty(), &targets)
            }
        }
    };
    groups.into_iter().map(panel).collect()
}

/// The first few curves by name.
fn names(curves: &[&Curve]) -> String {
    let name = |curve: &&Curve| match curve.each {
        Some(label) => format!("{} by {label}", curve.title).trim_start().to_owned(),
        None => curve.title.to_owned(),
    };
    let few: Vec<String> = curves.iter().take(MOST_NAMES).map(name).collect();
    let more = if curves.len() > MOST_NAMES { " · …" } else { "" };
    few.join(" · ") + more
}

/// Of names that are made at run time.
fn panel_of_pattern(pattern: &FamilyPattern) -> Option<Value> {
    if pattern.name == "*" {
        return None;
    }
    let names = pattern.name.replace('*', ".+");
    let selector = format!("{{__name__=~\"{names}\",{}}}", SCOPE.matchers);
    let unit = Unit::of_name(pattern.name.as_bytes());
    let (expression, measure) = match pattern.kinds {
        // A rate has no name. So the names are made a label first, without which the rates of two metrics would be the same series.
        [Kind::Counter] => {
            let named =
                format!("label_replace({selector}, \"name\", \"$1\", \"__name__\", \"(.+)\")");
            (format!("rate({named}[{}:15s])", SCOPE.range), Measure::PerSecond(unit))
        }
        _ => (selector, Measure::Of(unit)),
    };
    Some(time_series(pattern.name, unit_of(measure), false, &[(expression, String::new())]))
}

/// What people want beside the charts. What others say in labels is mostly there with a setting only.
fn is_beside_charts(family: &str) -> bool {
    family == "node_network_info"
}

/// What says nothing as a number: its labels.
fn table(family: &str) -> Value {
    let expression = format!("{family}{{{}}}", SCOPE.matchers);
    json!({
        "type": "table",
        "title": family.trim_start_matches("node_").trim_end_matches("_info").replace('_', " "),
        "datasource": data_source(),
        "fieldConfig": { "defaults": {}, "overrides": [] },
        "options": { "showHeader": true },
        "targets": [{ "refId": "A", "expr": expression, "format": "table", "instant": true }],
        "transformations": [{
            "id": "organize",
            "options": { "excludeByName": {
                "Time": true, "Value": true, "__name__": true, "job": true, "instance": true,
            } },
        }],
    })
}

fn legend(chart: &Chart, curve: &Curve) -> String {
    let labels = chart.by.iter().copied().chain(curve.each).map(|label| format!("{{{{{label}}}}}"));
    let title = Some(curve.title.to_owned()).filter(|title| !title.is_empty());
    labels.chain(title).collect::<Vec<_>>().join(" ")
}

/// What a panel asks for: expressions with their legends.
fn asked(targets: &[(String, String)]) -> Vec<Value> {
    let targets = targets.iter().enumerate();
    targets
        .map(|(number, (expression, legend))| {
            // As Grafana numbers them: A, B, ...
            let letter = char::from(b'A' + number as u8).to_string();
            let mut target = json!({ "refId": letter, "expr": expression });
            if !legend.is_empty() {
                target["legendFormat"] = json!(legend);
            }
            target
        })
        .collect()
}

/// The last value of each: a date that stays is a line which says nothing.
fn dates(title: &str, unit: &str, targets: &[(String, String)]) -> Value {
    json!({
        "type": "stat",
        "title": title,
        "datasource": data_source(),
        "fieldConfig": { "defaults": { "unit": unit }, "overrides": [] },
        "options": {
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            "textMode": "value_and_name", "colorMode": "none", "graphMode": "none",
        },
        "targets": asked(targets),
    })
}

/// A band for each, of one colour while it is 1 and of another while it is 0.
fn states(title: &str, targets: &[(String, String)]) -> Value {
    let mappings = json!([{ "type": "value", "options": {
        "0": { "index": 0, "text": "no", "color": "#9aa2ae" },
        "1": { "index": 1, "text": "yes", "color": "blue" },
    } }]);
    json!({
        "type": "state-timeline",
        "title": title,
        "datasource": data_source(),
        "fieldConfig": {
            "defaults": { "custom": { "fillOpacity": 70, "lineWidth": 0 }, "mappings": mappings },
            "overrides": [],
        },
        "options": {
            "mergeValues": true, "showValue": "never", "rowHeight": 0.8,
            "tooltip": { "mode": "single", "sort": "none" },
            "legend": { "showLegend": true, "displayMode": "list", "placement": "bottom" },
        },
        "targets": asked(targets),
    })
}

fn time_series(title: &str, unit: &str, is_whole: bool, targets: &[(String, String)]) -> Value {
    let custom = match is_whole {
        true => json!({
            "fillOpacity": 60, "lineWidth": 0, "showPoints": "never", "stacking": { "mode": "normal", "group": "A" },
        }),
        false => json!({ "fillOpacity": 10, "lineWidth": 1, "showPoints": "never" }),
    };
    let mut defaults = json!({ "unit": unit, "custom": custom });
    let mut overrides = json!([]);
    if is_whole {
        (defaults["min"], defaults["max"]) = (json!(0), json!(1));
        // With it every host is a block that is full.
        overrides = json!([{
            "matcher": { "id": "byName", "options": "idle" },
            "properties": [{
                "id": "custom.hideFrom", "value": { "viz": true, "legend": false, "tooltip": false },
            }],
        }]);
    } else if unit == "percentunit" {
        // Otherwise what hardly changes fills the panel.
        defaults["custom"]["axisSoftMin"] = json!(0);
        defaults["custom"]["axisSoftMax"] = json!(1);
    } else if unit == "bps" {
        // Drivers that do not know how fast a link is say that it is below zero.
        defaults["min"] = json!(0);
    }
    json!({
        "type": "timeseries",
        "title": title,
        "datasource": data_source(),
        "fieldConfig": { "defaults": defaults, "overrides": overrides },
        "options": {
            "tooltip": { "mode": "multi", "sort": "desc" },
            "legend": { "showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": [] },
        },
        "targets": asked(targets),
    })
}

/// How numbers are drawn.
#[derive(Clone, Copy, PartialEq)]
enum Drawing {
    Curves,
    /// Times since the epoch.
    Dates,
    /// 1 or 0, which means yes or no.
    States,
}

/// What a panel's numbers are read as.
#[derive(Clone, Copy, PartialEq)]
struct Axis {
    /// Grafana's name of it.
    unit: &'static str,
    /// By what the numbers are multiplied for that.
    factor: u32,
    /// What others may be at most, beside which these are nothing.
    is_limit: bool,
    drawing: Drawing,
}

impl Axis {
    fn of(figure: &Figure, unit: &dyn Fn(&str) -> Unit) -> Self {
        let measure = figure.measure(unit);
        let unit = match (figure, measure) {
            (Figure::Value(selector), Measure::Of(Unit::Seconds)) if is_date(selector.family) => {
                // Grafana's dates are in milliseconds.
                let (unit, drawing) = ("dateTimeAsIso", Drawing::Dates);
                return Axis { unit, factor: 1000, is_limit: false, drawing };
            }
            (Figure::Value(selector), _) if is_state(selector.family) => {
                return Axis {
                    unit: "short",
                    factor: 1,
                    is_limit: false,
                    drawing: Drawing::States,
                };
            }
            (Figure::Value(selector), Measure::Of(Unit::None)) => unit_of_name(selector.family),
            _ => None,
        };
        let is_limit = matches!(figure, Figure::Value(selector) if is_limit(selector.family));
        let unit = unit.unwrap_or_else(|| unit_of(measure));
        Axis { unit, factor: 1, is_limit, drawing: Drawing::Curves }
    }

    fn expression(self, query: String) -> String {
        if self.factor == 1 { query } else { format!("{query} * {}", self.factor) }
    }
}

fn is_limit(family: &str) -> bool {
    ["process_max_fds", "process_virtual_memory_max_bytes"].contains(&family)
}

/// Whether it is 1 or 0 for yes or no, of few enough things that each has a band of its own.
fn is_state(family: &str) -> bool {
    const STATES: [&str; 7] = [
        "node_network_up",
        "node_network_carrier",
        "node_textfile_scrape_error",
        "node_timex_sync_status",
        "node_zfs_zpool_state",
        "vitald_config_last_reload_successful",
        "vitald_web_config_last_load_successful",
    ];
    STATES.contains(&family)
}

/// Grafana's name for a unit that the name of a metric has, though against the rules for names.
fn unit_of_name(family: &str) -> Option<&'static str> {
    let units = [
        ("_percent", "percent"),
        ("_watt", "watt"),
        ("_bits_per_second", "bps"),
        ("_bytes_per_second", "Bps"),
        ("_thermal_zone_temp", "celsius"),
    ];
    units.iter().find(|(end, _)| family.ends_with(end)).map(|(_, unit)| *unit)
}

/// Grafana's name for a unit.
fn unit_of(measure: Measure) -> &'static str {
    match measure {
        measure if measure.is_share() => "percentunit",
        Measure::BitsPerSecond => "bps",
        Measure::PerSecond(Unit::Bytes) => "Bps",
        Measure::PerSecond(Unit::Joules) | Measure::Of(Unit::Watts) => "watt",
        Measure::PerSecond(_) => "cps",
        Measure::Of(Unit::Bytes) => "bytes",
        Measure::Of(Unit::Seconds) => "s",
        Measure::Of(Unit::Celsius) => "celsius",
        Measure::Of(Unit::Volts) => "volt",
        Measure::Of(Unit::Amperes) => "amp",
        Measure::Of(Unit::Joules) => "joule",
        Measure::Of(Unit::Hertz) => "hertz",
        Measure::Of(Unit::Meters) => "lengthm",
        Measure::Of(Unit::RevolutionsPerMinute) => "rotrpm",
        Measure::Of(Unit::None | Unit::Ratio) => "short",
    }
}
