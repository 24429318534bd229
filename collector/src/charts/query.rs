//! Charts as questions to Prometheus.

use vitald_core::chart::{Chart, Curve, Figure, Selector};

/// What is asked of which hosts.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// What each metric is asked for with, such as `instance="$instance"`; may be empty.
    pub matchers: &'a str,
    /// Over which time rates are, such as `$__rate_interval`.
    pub range: &'a str,
}

/// The expression in PromQL that gives a curve of a chart.
pub fn query(chart: &Chart, curve: &Curve, scope: Scope<'_>) -> String {
    let labels = chart.by.iter().copied().chain(curve.each).collect::<Vec<_>>().join(", ");
    Asked { chart, labels: &labels, scope }.expression(&curve.figure)
}

struct Asked<'a> {
    chart: &'a Chart,
    /// What tells the rows and the curves apart.
    labels: &'a str,
    scope: Scope<'a>,
}

impl Asked<'_> {
    fn expression(&self, figure: &Figure) -> String {
        match figure {
            Figure::Value(selector) => self.sum(self.labels, &self.series(selector)),
            Figure::Rate(selector) => self.sum(self.labels, &self.rate(selector)),
            Figure::Share(selector) => {
                let (rate, rows) = (self.rate(selector), self.chart.by.join(", "));
                let (part, whole) = (self.sum(self.labels, &rate), self.sum(&rows, &rate));
                format!("{part} / on ({rows}) group_left () {whole}")
            }
            Figure::Difference(one, other) => {
                format!("{} - {}", self.operand(one), self.operand(other))
            }
            Figure::Ratio(one, other) => {
                format!("{} / {}", self.operand(one), self.operand(other))
            }
            Figure::Bits(bytes) => format!("{} * 8", self.operand(bytes)),
        }
    }

    fn operand(&self, figure: &Figure) -> String {
        let expression = self.expression(figure);
        match figure {
            Figure::Value(_) | Figure::Rate(_) => expression,
            _ => format!("({expression})"),
        }
    }

    fn rate(&self, selector: &Selector) -> String {
        format!("rate({}[{}])", self.series(selector), self.scope.range)
    }

    fn series(&self, selector: &Selector) -> String {
        let own = selector.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
        let scope = Some(self.scope.matchers.to_owned()).filter(|matchers| !matchers.is_empty());
        let matchers: Vec<String> = own.chain(scope).collect();
        match &matchers[..] {
            [] => selector.family.to_owned(),
            matchers => format!("{}{{{}}}", selector.family, matchers.join(",")),
        }
    }

    fn sum(&self, labels: &str, of: &str) -> String {
        if labels.is_empty() { format!("sum({of})") } else { format!("sum by ({labels}) ({of})") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::chart::{rate, share, value};

    fn asked(chart: &Chart, matchers: &str) -> Vec<String> {
        let scope = Scope { matchers, range: "5m" };
        chart.curves.iter().map(|curve| query(chart, curve, scope)).collect()
    }

    #[test]
    fn lines_are_expressions() {
        const MODES: Chart = Chart::of("CPU", &[Curve::each("mode", share("cpu_total"))]);
        assert_eq!(
            asked(&MODES, ""),
            ["sum by (mode) (rate(cpu_total[5m])) / on () group_left () sum(rate(cpu_total[5m]))"]
        );
        const DISKS: Chart = Chart::by(
            &["device"],
            "Disks",
            &[
                Curve::of("read", Figure::Bits(&rate("read_total"))),
                Curve::of(
                    "used",
                    Figure::Ratio(
                        &Figure::Difference(&value("size"), &value("free")),
                        &value("size"),
                    ),
                ),
                Curve::of("open", value("state").of(&[("state", "open")])),
            ],
        );
        assert_eq!(
            asked(&DISKS, "instance=\"$instance\""),
            [
                "sum by (device) (rate(read_total{instance=\"$instance\"}[5m])) * 8",
                "(sum by (device) (size{instance=\"$instance\"}) - sum by (device) (free{instance=\"$instance\"})) \
                 / sum by (device) (size{instance=\"$instance\"})",
                "sum by (device) (state{state=\"open\",instance=\"$instance\"})",
            ]
        );
    }
}
