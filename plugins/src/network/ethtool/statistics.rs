//! What drivers count, under names that they choose.

use std::collections::{BTreeMap, HashMap};

use vitald_core::host::EthtoolStatistics;
use vitald_core::prelude::*;

/// The families of a run. Several interfaces have the same ones.
#[derive(Default)]
pub(super) struct Families {
    known: Vec<Statistic>,
    /// Places in `known`, by the driver's name with `_` for what is not a letter or digit.
    places: HashMap<Box<[u8]>, usize>,
    /// Changes when places are given anew.
    generation: u64,
    /// Some may be of no use any more.
    is_stale: bool,
}

struct Statistic {
    /// The driver's name, for the help text.
    name: Box<[u8]>,
    /// What follows `node_ethtool_`.
    family: Box<[u8]>,
    /// In this run.
    named: Option<NamedFamily>,
}

impl Families {
    /// Begins a run.
    pub(super) fn begin(&mut self) {
        self.known.iter_mut().for_each(|statistic| statistic.named = None);
    }

    /// Ends a run, after which the interfaces may be others than before. When a driver has gone or has other
    /// names, all are forgotten; those in use come back.
    pub(super) fn end(&mut self, has_changed: bool) {
        if has_changed || self.is_stale {
            self.known.clear();
            self.places.clear();
            self.generation += 1;
            self.is_stale = false;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    fn place(&mut self, name: &[u8], family: &[u8]) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.known.len();
        self.places.insert(name.into(), place);
        self.known.push(Statistic { name: name.into(), family: family.into(), named: None });
        place
    }

    fn named(&mut self, place: usize, batch: &mut Batch) -> Option<NamedFamily> {
        let Statistic { name, family, named } = self.known.get_mut(place)?;
        Some(*named.get_or_insert_with(|| {
            let help: [&[u8]; 3] = [b"Statistic ", name, b" of the driver."];
            batch.family(&[b"node_ethtool_", family], Kind::Untyped, &help)
        }))
    }
}

/// What is known of the statistics of one interface.
#[derive(Default)]
pub(super) struct Statistics {
    /// The names as the driver gave them. While they are the same, so is what was made of them.
    names: Vec<u8>,
    generation: Option<u64>,
    shown: Vec<Shown>,
}

struct Shown {
    /// Among the driver's.
    place: usize,
    /// Among the families.
    family: usize,
}

impl Statistics {
    pub(super) fn push(
        &mut self,
        device: &[u8],
        counted: &EthtoolStatistics<'_>,
        families: &mut Families,
        metrics: &Pattern,
        batch: &mut Batch,
    ) {
        let is_same = *self.names == *counted.raw_names();
        if !is_same || self.generation != Some(families.generation) {
            families.is_stale |= !is_same && self.generation.is_some();
            self.names.clear();
            self.names.extend_from_slice(counted.raw_names());
            let chosen = choose(counted.names(), metrics);
            self.shown = chosen
                .map(|(place, name, family)| Shown {
                    place,
                    family: families.place(&name, &family),
                })
                .collect();
            self.generation = Some(families.generation);
        }
        if self.shown.is_empty() {
            return;
        }
        let labels = batch.label_pairs(&[(b"device", device)]);
        for Shown { place, family } in &self.shown {
            if let Some(family) = families.named(*family, batch) {
                batch.push_named(family, Suffix::None, labels, counted.value(*place));
            }
        }
    }
}

type Chosen = (usize, Vec<u8>, Vec<u8>);

/// The statistics to show, by family: the place of each, its name, and its family. Of names that are the same,
/// the last counts; names that differ and make the same family are left out, all of them.
fn choose<'n>(
    names: impl Iterator<Item = &'n [u8]>,
    metrics: &Pattern,
) -> impl Iterator<Item = Chosen> {
    let mut places: BTreeMap<&[u8], usize> = BTreeMap::new();
    places.extend(names.enumerate().filter(|(_, name)| !name.is_empty()).map(|(at, it)| (it, at)));
    let mut chosen: BTreeMap<Vec<u8>, Option<(usize, Vec<u8>)>> = BTreeMap::new();
    for (name, place) in places {
        let name = sanitize(name);
        if metrics.matches(&name) {
            let known = chosen.entry(family(&name));
            known.and_modify(|clash| *clash = None).or_insert(Some((place, name)));
        }
    }
    chosen.into_iter().filter_map(|(of_name, known)| {
        let (place, name) = known?;
        let family = common(&name).map_or(of_name, |common| common.into());
        (!family.is_empty()).then_some((place, name, family))
    })
}

/// Makes one `_` of each run of characters other than letters, digits and `_`, together with the `_` around it.
fn sanitize(name: &[u8]) -> Vec<u8> {
    let mut sanitized = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, others)) = rest.split_first() {
        let (underscores, after) = split_while(rest, |byte| byte == b'_');
        let (odd, after) = split_while(after, |byte| byte != b'_' && !byte.is_ascii_alphanumeric());
        rest = if !odd.is_empty() {
            sanitized.push(b'_');
            split_while(after, |byte| byte == b'_').1
        } else if !underscores.is_empty() {
            sanitized.extend_from_slice(underscores);
            after
        } else {
            sanitized.push(*first);
            others
        };
    }
    sanitized
}

fn split_while(text: &[u8], is_taken: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| is_taken(**byte)).count())
}

/// What follows `node_ethtool_` in a family's name: `port_received_errors` for `port_rx_errors`.
fn family(name: &[u8]) -> Vec<u8> {
    let name = name.to_ascii_lowercase();
    let (_, name) = split_while(&name, |byte| byte == b'_');
    replace(&replace(name, b"rx", b"received"), b"tx", b"transmitted")
}

/// Replaces a word between `_` or at an end. A `_` between two such words ends the first one and begins no
/// other: as in node_exporter, the second stays.
fn replace(name: &[u8], word: &[u8], by: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(name.len() + by.len());
    let (mut at, mut begins) = (0, true);
    while at < name.len() {
        let rest = &name[at..];
        if begins
            && let Some(after) = rest.strip_prefix(word)
            && after.first().is_none_or(|byte| *byte == b'_')
        {
            replaced.extend_from_slice(by);
            replaced.extend(after.first());
            at += word.len() + 1;
            begins = false;
        } else {
            replaced.push(name[at]);
            begins = name[at] == b'_';
            at += 1;
        }
    }
    replaced
}

/// What most drivers count has names of its own.
fn common(name: &[u8]) -> Option<&'static [u8]> {
    Some(match name {
        b"rx_bytes" => b"received_bytes_total",
        b"rx_dropped" => b"received_dropped_total",
        b"rx_errors" => b"received_errors_total",
        b"rx_packets" => b"received_packets_total",
        b"tx_bytes" => b"transmitted_bytes_total",
        b"tx_errors" => b"transmitted_errors_total",
        b"tx_packets" => b"transmitted_packets_total",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_families() {
        let cases = [
            ("rx-0.queue drops", "rx_0_queue_drops", "received_0_queue_drops"),
            ("TX timeouts", "TX_timeouts", "transmitted_timeouts"),
            ("[7]: rx_csum_none", "_7_rx_csum_none", "7_received_csum_none"),
            ("   late", "_late", "late"),
            ("veb.tc_0_rx", "veb_tc_0_rx", "veb_tc_0_received"),
            ("rx", "rx", "received"),
            ("rxq_tx_txq", "rxq_tx_txq", "rxq_transmitted_txq"),
            ("a__b_. _c", "a__b_c", "a__b_c"),
            ("a._.b", "a__b", "a__b"),
            ("rx_rx_rx", "rx_rx_rx", "received_rx_received"),
            ("a_rx_tx", "a_rx_tx", "a_received_transmitted"),
            ("caf\u{e9}", "caf_", "caf_"),
            ("__", "__", ""),
            ("", "", ""),
        ];
        for (name, sanitized, of) in cases {
            assert_eq!(sanitize(name.as_bytes()).escape_ascii().to_string(), sanitized, "{name}");
            assert_eq!(family(sanitized.as_bytes()).escape_ascii().to_string(), of, "{name}");
        }
    }
}
