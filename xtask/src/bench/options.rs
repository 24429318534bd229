//! What `cargo xtask bench` is asked for.

use super::sets::{self, Set};
use std::path::PathBuf;

pub(crate) const USAGE: &str = "usage: cargo xtask bench [OPTIONS]

  --quick                 a minute, to see that everything works; its figures are rough
  --sets NAME,...         the sets of collectors: sixteen, fixed, default; all of them unless set
  --rates HZ,...          how often each program is scraped in a second, beside back to back, or
                          `none`; 0.2,1,2 unless set
  --binary FILE           the release binary to measure; built unless set
  --node-exporter FILE    node_exporter; looked for unless set
  --collectd FILE         collectd; looked for unless set
  --here                  with the mounts and interfaces of this machine, also where root could make
                          others
  --output FILE           where the tables are written; docs/benchmark.md and README.md unless set,
                          and with --quick none";

/// The rates that a full run has.
const RATES: [f64; 3] = [0.2, 1.0, 2.0];
/// A run at another rate takes too long, or is back to back.
const SLOWEST: f64 = 0.01;
const FASTEST: f64 = 20.0;

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) effort: Effort,
    pub(crate) sets: Vec<&'static Set>,
    pub(crate) rates: Vec<f64>,
    pub(crate) binary: Option<PathBuf>,
    pub(crate) node_exporter: Option<PathBuf>,
    pub(crate) collectd: Option<PathBuf>,
    pub(crate) output: Option<PathBuf>,
    pub(crate) place: Place,
}

/// Whose mounts and interfaces there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Always the same ones, where root can make them.
    Made,
    /// This machine's, as was asked for.
    Here,
    /// Those that the command that started this one has made.
    Inside,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) is_quick: bool,
    /// Rounds back to back, and the scrapes of each program in a round.
    pub(crate) rounds: usize,
    pub(crate) scrapes: usize,
    /// How often each program is started.
    pub(crate) starts: usize,
    /// The CPUs of the hosts that grow, and rounds over them.
    pub(crate) cpus: &'static [usize],
    pub(crate) rounds_of_growth: usize,
    /// Scrapes from which the duration of each collector is taken.
    pub(crate) scrapes_of_collectors: usize,
}

const FULL: Effort = Effort {
    is_quick: false,
    rounds: 32,
    scrapes: 50,
    starts: 15,
    cpus: &[64, 128, 256, 512],
    rounds_of_growth: 12,
    scrapes_of_collectors: 40,
};

const QUICK: Effort = Effort {
    is_quick: true,
    rounds: 8,
    scrapes: 10,
    starts: 3,
    cpus: &[64, 128],
    rounds_of_growth: 3,
    scrapes_of_collectors: 5,
};

impl Effort {
    /// How many scrapes of each program there are at a rate: some seconds, and never few.
    pub(crate) fn rounds_at(&self, rate: f64) -> usize {
        let (seconds, fewest) = if self.is_quick { (4.0, 6) } else { (40.0, 24) };
        ((seconds * rate) as usize).max(fewest)
    }
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Options, String> {
        let mut options = Options {
            effort: FULL,
            sets: sets::ALL.iter().collect(),
            rates: Vec::new(),
            binary: None,
            node_exporter: None,
            collectd: None,
            output: None,
            place: Place::Made,
        };
        let mut rates = None;
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut value =
                || words.next().ok_or_else(|| format!("{word} needs a value\n\n{USAGE}"));
            match word {
                "--quick" => options.effort = QUICK,
                "--here" => options.place = Place::Here,
                "--inside" => {
                    options.place = Place::Inside;
                    value()?;
                }
                "--sets" => options.sets = list(value()?, sets::of_name)?,
                "--rates" => {
                    let text = value()?;
                    rates = Some(if text == "none" { Vec::new() } else { list(text, rate)? });
                }
                "--binary" => options.binary = Some(value()?.into()),
                "--node-exporter" => options.node_exporter = Some(value()?.into()),
                "--collectd" => options.collectd = Some(value()?.into()),
                "--output" => options.output = Some(value()?.into()),
                _ => return Err(format!("{word} is not an option\n\n{USAGE}")),
            }
        }
        let files = [&options.binary, &options.node_exporter, &options.collectd];
        if let Some(missing) = files.into_iter().flatten().find(|file| !file.is_file()) {
            return Err(format!("{}: there is no such file", missing.display()));
        }
        let default = || if options.effort.is_quick { vec![2.0] } else { RATES.to_vec() };
        options.rates = rates.unwrap_or_else(default);
        let is_beside_collectd = options.sets.iter().any(|set| set.is_beside_collectd());
        if options.collectd.is_some() && (options.rates.is_empty() || !is_beside_collectd) {
            let reason = "collectd is measured at rates, and with the set sixteen";
            return Err(format!("--collectd would be without effect: {reason}"));
        }
        Ok(options)
    }
}

fn list<T>(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(one).collect()
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (SLOWEST..=FASTEST).contains(rate));
    rate.ok_or_else(|| {
        format!("{text} is not a number of scrapes a second from {SLOWEST} to {FASTEST}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(words: &[&str]) -> String {
        Options::parse(words).expect_err("it is wrong")
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(error(&["--fast"]).starts_with("--fast is not an option\n\nusage: "));
        assert!(error(&["--sets"]).starts_with("--sets needs a value\n\nusage: "));
        assert_eq!(
            error(&["--sets", "sixteen,fourteen"]),
            "there is no set fourteen; the sets are sixteen, fixed, default"
        );
        for rate in ["0", "1,often", "-1", "NaN", "inf", "100", ""] {
            let end = "is not a number of scrapes a second from 0.01 to 20";
            assert!(error(&["--rates", rate]).ends_with(end), "{rate}");
        }
        assert_eq!(error(&["--binary", "/no/such"]), "/no/such: there is no such file");
        assert_eq!(error(&["--collectd", "/"]), "/: there is no such file");
        let this = std::env::current_exe().unwrap();
        let collectd = ["--collectd", this.to_str().unwrap()];
        for others in [["--rates", "none"], ["--sets", "fixed"]] {
            assert!(error(&[collectd, others].concat()).contains("without effect"), "{others:?}");
        }
    }

    #[test]
    fn what_is_not_asked_for() {
        let options = Options::parse(&[]).unwrap();
        assert_eq!(options.rates, RATES);
        assert_eq!(options.sets.len(), 3);
        assert_eq!(options.place, Place::Made);
        assert!(!options.effort.is_quick);
        assert_eq!(Options::parse(&["--quick"]).unwrap().rates, [2.0]);
    }

    #[test]
    fn what_is_asked_for() {
        let words = ["--rates", "0.5,5", "--quick", "--sets", "default", "--here"];
        let options = Options::parse(&words).unwrap();
        assert_eq!(options.rates, [0.5, 5.0]);
        assert_eq!(options.sets[0].name, "default");
        assert_eq!(options.place, Place::Here);
        assert!(options.effort.is_quick);
        assert!(Options::parse(&["--rates", "none"]).unwrap().rates.is_empty());
    }

    #[test]
    fn a_slow_rate_has_rounds_enough_for_an_interval() {
        assert_eq!(FULL.rounds_at(0.2), 24);
        assert_eq!(FULL.rounds_at(2.0), 80);
        assert_eq!(QUICK.rounds_at(2.0), 8);
    }
}
