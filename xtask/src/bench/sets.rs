//! The sets of collectors that are measured, the same in both programs.

use crate::large_host::{self, LargeHost};
use crate::system::cost::{self, DEFAULTS};
use crate::system::peer::{self, DEFAULT_FIELDS, STANDARD};
use std::path::Path;

#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// These, or all that each program has on by default.
    collectors: Option<&'static [&'static str]>,
}

/// Those whose cost was studied in every detail, of each of which most kernels have a source.
const OF_FIXED: [&str; 19] = [
    "conntrack",
    "cpu",
    "diskstats",
    "entropy",
    "filefd",
    "filesystem",
    "loadavg",
    "meminfo",
    "netclass",
    "netdev",
    "netstat",
    "pressure",
    "schedstat",
    "sockstat",
    "softnet",
    "stat",
    "time",
    "uname",
    "vmstat",
];

pub(crate) const SIXTEEN: Set = Set {
    name: "sixteen",
    about: "The sixteen collectors that every machine has a source for and every dashboard asks for.",
    collectors: Some(&STANDARD),
};

pub(crate) const FIXED: Set = Set {
    name: "fixed",
    about: "The sixteen without textfiles, and what else hardly any host is without, among it the many attributes \
            of interfaces in sysfs.",
    collectors: Some(&OF_FIXED),
};

pub(crate) const DEFAULT: Set = Set {
    name: "default",
    about: "What each program has on by default, with the same filters in both.",
    collectors: None,
};

pub(crate) const ALL: [Set; 3] = [SIXTEEN, FIXED, DEFAULT];

pub(crate) fn of_name(name: &str) -> Result<&'static Set, String> {
    let set = ALL.iter().find(|set| set.name == name);
    set.ok_or_else(|| {
        let names = ALL.map(|set| set.name).join(", ");
        format!("there is no set {name}; the sets are {names}")
    })
}

/// The large hosts of these collectors, or all of them.
pub(crate) fn large_hosts(text: &str) -> Result<Vec<&'static LargeHost>, String> {
    if text == "all" {
        return Ok(large_host::ALL.iter().collect());
    }
    let host = |name: &str| {
        let host = large_host::ALL.iter().find(|host| host.collector == name);
        host.ok_or_else(|| {
            let names: Vec<&str> = large_host::ALL.iter().map(|host| host.collector).collect();
            format!("there is no large host for {name}; there are some for {}", names.join(", "))
        })
    };
    text.split(',').map(host).collect()
}

impl Set {
    /// The collectors by name, or none where it is what is on by default.
    pub(crate) fn names(&self) -> Option<&'static [&'static str]> {
        self.collectors
    }

    /// Whether collectd has plugins for much the same.
    pub(crate) fn is_beside_collectd(&self) -> bool {
        self.name == SIXTEEN.name
    }

    /// vitald's configuration, but for where it listens. No result of one scrape answers the next.
    pub(crate) fn config(&self, textfile: &Path, further: &[(&str, &str)]) -> String {
        cost::as_filters(textfile, further, |settings| match self.names() {
            Some(names) => cost::these_alone(names, settings),
            None => {
                let section = |(name, line): &(&str, &str)| format!("{name}.{line}\n");
                let sections: String = settings.iter().map(section).collect();
                format!("{DEFAULTS}[collectors]\n{sections}")
            }
        })
    }

    /// node_exporter's command line.
    pub(crate) fn flags(&self, textfile: &Path) -> Vec<String> {
        let mut flags = peer::filters(textfile, &DEFAULT_FIELDS);
        if let Some(names) = self.names() {
            flags.extend(peer::these_alone(names));
        }
        flags
    }
}
