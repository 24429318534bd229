//! What `cargo xtask bench` is asked for.

use super::sets::{self, Set};
use crate::large_host::LargeHost;
use std::path::PathBuf;

pub(crate) const USAGE: &str = "usage: cargo xtask bench [OPTIONS]

Without options it takes a quarter of an hour and writes docs/benchmark.md and README.md, if it is complete and the machine
has no other work; what stands against it is said at the end.

  --quick                 two minutes, to see that everything works; its figures are rough
  --sets NAME,...         the sets of collectors: sixteen, fixed, default; all of them unless set
  --rates HZ,...          how often each program is scraped in a second, as 2 or 1/15, beside back to
                          back, or `none`; 2,1/15 unless set. 1/60 takes 36 minutes
  --binary FILE           the release binary to measure; built unless set
  --node-exporter FILE    node_exporter; looked for unless set
  --collectd FILE         collectd; looked for unless set
  --here                  with the mounts and interfaces of this machine, also where root could make
                          others
  --output FILE           where the tables are written, and not to docs/benchmark.md and README.md
  --large-hosts NAME,...  only these collectors, or `all` that there is such a host for, each alone on a host that has much of
                          what it reads; the table that docs/cost.md was made from is printed";

/// The rates that a full run has: one at which a person looks, and that of most servers of Prometheus.
const RATES: [f64; 2] = [2.0, 1.0 / 15.0];
/// A rarer one outlasts connections, and a faster one has no time for all programs side by side.
const SLOWEST: f64 = 1.0 / 60.0;
const FASTEST: f64 = 5.0;

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
    /// Nothing but these.
    pub(crate) large_hosts: Option<Vec<&'static LargeHost>>,
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
    /// How often each program is started, and measured for a while.
    pub(crate) blocks: usize,
    /// The same on large hosts.
    pub(crate) blocks_of_large: usize,
    /// Rounds of a block back to back, and the scrapes of each program in a round.
    pub(crate) rounds: usize,
    pub(crate) scrapes: usize,
    /// How often the time of a start is taken.
    pub(crate) starts: usize,
    /// The CPUs of the hosts of plain files.
    pub(crate) cpus: &'static [usize],
    /// Of the host of the kernel's: pairs of interfaces, and mounts.
    pub(crate) pairs: usize,
    pub(crate) mounts: usize,
    /// How long a block is scraped at a rate, in seconds, and how often at least.
    seconds: f64,
    fewest: usize,
}

pub(crate) const FULL: Effort = Effort {
    is_quick: false,
    blocks: 12,
    blocks_of_large: 6,
    rounds: 4,
    scrapes: 30,
    starts: 15,
    cpus: &[64, 128, 256, 512],
    pairs: 500,
    mounts: 300,
    seconds: 4.0,
    fewest: 2,
};

const QUICK: Effort = Effort {
    is_quick: true,
    blocks: 3,
    blocks_of_large: 2,
    rounds: 2,
    scrapes: 10,
    starts: 3,
    cpus: &[64, 128],
    pairs: 50,
    mounts: 20,
    seconds: 1.0,
    fewest: 1,
};

impl Effort {
    /// How many scrapes of each program a block has at a rate.
    pub(crate) fn rounds_at(&self, rate: f64) -> usize {
        ((self.seconds * rate) as usize).max(self.fewest)
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
            large_hosts: None,
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
                "--large-hosts" => {
                    options.large_hosts = Some(sets::large_hosts(value()?)?);
                }
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

    /// What of a full run is not asked for.
    pub(crate) fn left_out(&self) -> Vec<String> {
        let has_all_sets =
            sets::ALL.iter().all(|set| self.sets.iter().any(|it| it.name == set.name));
        let left_out = [
            (self.effort.is_quick, "--quick measures too little"),
            (!has_all_sets, "--sets leaves some out"),
            (self.rates != RATES, "--rates asks for others"),
            (
                self.place != Place::Inside,
                "it was measured with the mounts and interfaces of this machine, not with those that root makes for a run",
            ),
        ];
        left_out.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| what.to_owned()).collect()
    }
}

fn list<T>(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(one).collect()
}

/// A number, or one over another one.
fn rate(text: &str) -> Result<f64, String> {
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    let number = |text: &str| text.parse::<f64>().ok();
    let rate = number(above).zip(number(below)).map(|(above, below)| above / below);
    rate.filter(|rate| (SLOWEST..=FASTEST).contains(rate))
        .ok_or_else(|| format!("{text} is not a number of scrapes a second from 1/60 to {FASTEST}"))
}

/// A rate as tables name it.
pub(crate) fn rate_in_words(rate: f64) -> String {
    if rate < 1.0 {
        format!("once in {:.3} s", 1.0 / rate).replace(".000", "")
    } else {
        format!("{rate} Hz")
    }
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
        for rate in ["0", "1,often", "-1", "NaN", "inf", "100", "", "1/", "/2", "1/0", "1/61"] {
            let end = "is not a number of scrapes a second from 1/60 to 5";
            assert!(error(&["--rates", rate]).ends_with(end), "{rate}");
        }
        assert_eq!(error(&["--binary", "/no/such"]), "/no/such: there is no such file");
        assert_eq!(error(&["--collectd", "/"]), "/: there is no such file");
        assert!(error(&["--large-hosts", "drbd,disks"]).starts_with(
            "there is no large host for disks; there are some for interrupts, softirqs, "
        ));
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
        let words = ["--rates", "0.5,1/15", "--quick", "--sets", "default", "--here"];
        let options = Options::parse(&words).unwrap();
        assert_eq!(options.rates, [0.5, 1.0 / 15.0]);
        assert_eq!(options.sets[0].name, "default");
        assert_eq!(options.place, Place::Here);
        assert!(options.effort.is_quick);
        assert!(Options::parse(&["--rates", "none"]).unwrap().rates.is_empty());
        let of = |which| Options::parse(&["--large-hosts", which]).unwrap().large_hosts.unwrap();
        let two: Vec<&str> = of("zfs,drbd").iter().map(|host| host.collector).collect();
        assert_eq!(two, ["zfs", "drbd"]);
        assert!(of("all").len() > 20);
    }

    #[test]
    fn whatever_is_less_than_a_full_run_is_known_to_be() {
        let left_out = |words: &[&str]| Options::parse(words).unwrap().left_out();
        let inside = ["--inside", "/"];
        assert_eq!(left_out(&inside), [""; 0]);
        assert_eq!(left_out(&[&inside[..], &["--rates", "2,1/15"]].concat()), [""; 0]);
        for (words, expected) in [
            (&["--quick"][..], "--quick"),
            (&["--sets", "sixteen,default"], "--sets"),
            (&["--rates", "2,1/15,1/60"], "--rates"),
            (&["--here"], "mounts and interfaces of this machine"),
        ] {
            let left_out = left_out(&[&inside[..], words].concat());
            assert!(left_out.iter().any(|reason| reason.contains(expected)), "{left_out:?}");
        }
    }

    #[test]
    fn a_slow_rate_has_few_scrapes() {
        assert_eq!(
            [2.0, 0.2, 1.0 / 15.0, 1.0 / 60.0].map(|rate| FULL.rounds_at(rate)),
            [8, 2, 2, 2]
        );
        assert_eq!([2.0, 0.2].map(|rate| QUICK.rounds_at(rate)), [2, 1]);
        let words = [2.0, 1.5, 0.2, 1.0 / 15.0, 0.3].map(rate_in_words);
        assert_eq!(words, ["2 Hz", "1.5 Hz", "once in 5 s", "once in 15 s", "once in 3.333 s"]);
    }
}
