//! Programs with the same collectors, beside each other.

use super::figures::{Regime, Row};
use super::names::{CONTROL, VITALD};
use super::programs::{Programs, Running};
use super::progress::say;
use super::sets::Set;
use super::work::Work;

/// vitald twice, the bare reader where its work is known, and node_exporter where it is installed.
pub(crate) struct Lineup {
    config: String,
    flags: Vec<String>,
    work: Option<Work>,
}

impl Lineup {
    pub(crate) fn new(programs: &Programs, set: &Set) -> Lineup {
        let textfiles = programs.textfiles();
        Lineup { config: set.config(&textfiles, &[]), flags: set.flags(&textfiles), work: None }
    }

    /// The same with the bare reader.
    pub(crate) fn with_reader(mut self, programs: &Programs) -> Lineup {
        self.work = programs.work(&self.config);
        self
    }

    pub(crate) fn work(&self) -> Option<Work> {
        self.work.clone()
    }

    /// New processes, which are warm. They always have the same places, and neither vitald always starts first.
    pub(crate) fn start(&self, programs: &Programs, block: usize) -> Vec<Running> {
        let mut names = [VITALD, CONTROL];
        names.rotate_left(block % 2);
        let mut running = Vec::from(names.map(|name| programs.start_vitald(name, &self.config)));
        running.rotate_left(block % 2);
        running.extend(self.work.as_ref().map(|work| programs.start_reader(work)));
        running.extend(programs.start_node_exporter(&self.flags));
        running.iter_mut().for_each(Running::warm);
        running
    }
}

/// Measures so many regimes together, block by block. Where vitald beside itself does not cost the same, as many blocks
/// follow: all of them count, so that nothing is chosen.
pub(crate) fn in_blocks(
    name: &str,
    regimes: usize,
    blocks: usize,
    mut measure: impl FnMut(usize) -> Vec<Vec<Row>>,
) -> Vec<Regime> {
    let mut regimes: Vec<Regime> = (0..regimes).map(|_| Regime::new(name)).collect();
    for block in 0..blocks * 2 {
        if block == blocks {
            let off =
                regimes.iter().filter_map(Regime::control).find(|control| !control.holds(1.0));
            let Some(control) = off else { break };
            say(&format!("vitald beside itself is {control}: as much again"));
        }
        for (regime, rows) in regimes.iter_mut().zip(measure(block)) {
            regime.extend(rows);
        }
    }
    regimes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of two programs, of which the second costs so many times as much.
    fn blocks_measured(times: impl Fn(usize) -> f64) -> Regime {
        let row = |name, spent| Row::new(name, (vec![spent; 3], vec![1e-3; 3]), 1);
        let measure = |block| vec![vec![row(VITALD, 1e5), row(CONTROL, times(block) * 1e5)]];
        in_blocks("2 Hz", 1, 6, measure).remove(0)
    }

    #[test]
    fn what_does_not_hold_1_is_measured_on_and_nothing_is_thrown_away() {
        assert_eq!(blocks_measured(|block| [0.99, 1.01][block % 2]).blocks(), 6);
        let off = blocks_measured(|_| 1.1);
        assert_eq!(off.blocks(), 12);
        assert!(off.control().is_some_and(|control| !control.holds(1.0)));
        let by_chance = blocks_measured(|block| if block < 6 { 1.1 } else { 0.9 });
        assert!(by_chance.control().is_some_and(|control| control.holds(1.0)));
    }
}
