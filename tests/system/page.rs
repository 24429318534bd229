//! A page in the text format, taken apart.

use std::collections::{BTreeMap, BTreeSet};

/// What a page says.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The type of each family.
    pub kinds: BTreeMap<String, String>,
    pub samples: BTreeMap<Series, f64>,
}

/// A sample's name and its labels by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl Series {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

impl Page {
    /// Reads a page strictly: whatever is odd fails the test.
    pub fn parse(text: &str) -> Page {
        let mut page = Page::default();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                let before = page.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} has two types");
            } else if !line.starts_with('#') {
                let (series, value) = sample(line);
                let before = page.samples.insert(series.clone(), value);
                assert_eq!(before, None, "{series:?} is there twice");
            }
        }
        page
    }

    /// The value of the one series of a family that has these labels among its own.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.family(name).filter(|(series, _)| {
            labels.iter().all(|(label, value)| series.label(label) == Some(*value))
        });
        let first = found.next().map(|(_, value)| value);
        assert!(found.next().is_none(), "{name} {labels:?} is not one series");
        first
    }

    /// What is of the host, and not of the program that shows it.
    pub fn of_host(&self) -> impl Iterator<Item = &Series> {
        let own = ["go_", "process_", "promhttp_", "vitald_"];
        let is_own = move |series: &Series| own.iter().any(|own| series.name.starts_with(own));
        self.samples.keys().filter(move |series| !is_own(series))
    }

    /// The samples of one name.
    pub fn family(&self, name: &str) -> impl Iterator<Item = (&Series, f64)> {
        self.samples
            .iter()
            .filter(move |(series, _)| series.name == name)
            .map(|(series, value)| (series, *value))
    }

    /// The values that a label has in a family.
    pub fn values_of(&self, name: &str, label: &str) -> BTreeSet<String> {
        self.family(name).filter_map(|(series, _)| Some(series.label(label)?.to_owned())).collect()
    }

    pub fn series(&self) -> BTreeSet<&Series> {
        self.samples.keys().collect()
    }
}

/// Takes `name{a="b",c="d"} 1e+06`.
fn sample(line: &str) -> (Series, f64) {
    let end = line.find(['{', ' ']).expect("a name");
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").expect("a label");
            let mut value = String::new();
            let mut characters = after.char_indices();
            let end = loop {
                match characters.next().expect("the label ends") {
                    (at, '"') => break at,
                    (_, '\\') => match characters.next().expect("an escape").1 {
                        'n' => value.push('\n'),
                        other => value.push(other),
                    },
                    (_, character) => value.push(character),
                }
            };
            labels.insert(label.to_owned(), value);
            rest = after[end + 1..].trim_start_matches(',');
        }
        rest = &rest[1..];
    }
    let value = match rest.trim() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().expect("a number"),
    };
    (Series { name: name.to_owned(), labels }, value)
}
