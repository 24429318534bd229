//! As what each file is shown, decided when chips or files come or go.

use super::names::SensorFile;
use crate::hardware::chip_names::{clean, cleaned, of_device};
use std::collections::HashMap;
use vitald_core::prelude::*;

/// What is shown.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) chips: Vec<Chip>,
    pub(super) families: Vec<FamilyText>,
    /// For each file that was found, in the order of the walks.
    pub(super) files: Vec<Option<Shown>>,
    /// How many labels of sensors there are.
    pub(super) labels: usize,
}

/// A chip that is shown.
pub(super) struct Chip {
    /// The label `chip`.
    pub(super) label: Box<[u8]>,
    /// The label `chip_name`; empty where there is none.
    pub(super) name: Box<[u8]>,
}

/// A family that is named at run time.
pub(super) struct FamilyText {
    pub(super) name: Box<[u8]>,
    pub(super) help: Box<[u8]>,
    pub(super) kind: Kind,
    /// That of this run.
    pub(super) named: Option<NamedFamily>,
}

/// A file that is shown.
pub(super) struct Shown {
    pub(super) chip: usize,
    pub(super) sensor: Box<[u8]>,
    pub(super) what: What,
}

/// What a file holds.
#[derive(Clone, Copy)]
pub(super) enum What {
    /// The sensor's label, which has this place among all labels.
    Label(usize),
    BeepEnable,
    RegulatorVersion,
    UpdateInterval,
    /// A number of a family, by its place.
    Value {
        family: usize,
        scale: Scale,
    },
    /// The same for a frequency, which is shown under the sensor's label.
    Frequency {
        family: usize,
        label: usize,
    },
}

/// How the kernel's number becomes that of the metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    One,
    Thousandths,
    Millionths,
}

impl Scale {
    pub(super) fn apply(self, number: f64) -> f64 {
        match self {
            Scale::One => number,
            Scale::Thousandths => number * 0.001,
            Scale::Millionths => number / 1_000_000.0,
        }
    }
}

/// A chip that was found.
pub(super) struct FoundChip {
    /// Its directory in the class: `hwmon3`.
    pub(super) entry: Box<[u8]>,
    /// The path of its device, if it has one.
    pub(super) device: Option<Box<[u8]>>,
    /// What its driver calls it; may be empty.
    pub(super) name: Box<[u8]>,
}

/// A file that was found.
pub(super) struct FoundFile {
    /// The directory of its chip.
    pub(super) entry: Box<[u8]>,
    pub(super) name: Box<[u8]>,
}

/// The place of a property's file, by property. A file in the device's directory takes the place of one
/// in the chip's.
type Properties<'f> = HashMap<&'f [u8], usize>;

impl Plan {
    pub(super) fn of(
        chips: &[FoundChip],
        files: &[FoundFile],
        takes_chip: impl Fn(&[u8]) -> bool,
        takes_sensor: impl Fn(&[u8]) -> bool,
    ) -> Plan {
        let mut plan = Plan::default();
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        for (chip, label) in chips.iter().zip(labels(chips)) {
            if !label.is_empty() && takes_chip(&label) {
                places.insert(&chip.entry, plan.chips.len());
                plan.chips.push(Chip { label: label.into(), name: cleaned(&chip.name).into() });
            }
        }
        plan.files.resize_with(files.len(), || None);
        let mut sensors: HashMap<(usize, &[u8], &[u8]), Properties<'_>> = HashMap::new();
        for (place, file) in files.iter().enumerate() {
            let (Some(&chip), Some(parts)) = (places.get(&*file.entry), SensorFile::of(&file.name))
            else {
                continue;
            };
            let sensor = sensors.entry((chip, parts.kind, parts.number)).or_default();
            sensor.insert(parts.property, place);
        }
        // The order is that of the files, so that each plan of the same files is the same.
        let mut sensors: Vec<_> = sensors.into_iter().collect();
        sensors.sort_unstable_by_key(|(_, properties)| properties.values().copied().min());
        for ((chip, kind, number), properties) in sensors {
            let sensor = [kind, number].concat();
            let filtered = [&*plan.chips[chip].label, b";", &sensor].concat();
            if takes_sensor(&filtered) {
                plan.show_sensor(chip, kind, &sensor, properties);
            }
        }
        plan
    }

    fn show_sensor(&mut self, chip: usize, kind: &[u8], sensor: &[u8], properties: Properties<'_>) {
        let label = properties.contains_key(&b"label"[..]).then(|| {
            self.labels += 1;
            self.labels - 1
        });
        let has_plain = properties.contains_key(&b""[..]);
        let mut properties: Vec<_> = properties.into_iter().collect();
        properties.sort_unstable_by_key(|(_, place)| *place);
        for (property, place) in properties {
            let what = match (kind, property) {
                (_, b"label") => label.map(What::Label),
                (b"beep_enable", b"") => Some(What::BeepEnable),
                (b"vrm", b"") => Some(What::RegulatorVersion),
                (b"update_interval", b"") => Some(What::UpdateInterval),
                (b"beep_enable" | b"vrm" | b"update_interval", _) => None,
                _ => {
                    let (ending, scale) = ending_and_scale(kind, property);
                    let family = self.family(kind, property, has_plain, ending);
                    match (kind, property) {
                        (b"freq", b"input") => label.map(|label| What::Frequency { family, label }),
                        _ => Some(What::Value { family, scale }),
                    }
                }
            };
            self.files[place] = what.map(|what| Shown { chip, sensor: sensor.into(), what });
        }
    }

    /// The place of the family of a property.
    fn family(&mut self, kind: &[u8], property: &[u8], has_plain: bool, ending: &str) -> usize {
        let mut name = [b"node_hwmon_", kind].concat();
        match property {
            b"input" if !has_plain => {}
            b"" => {}
            _ => {
                name.push(b'_');
                clean(property, &mut name);
            }
        }
        name.extend_from_slice(ending.as_bytes());
        if let Some(known) = self.families.iter().position(|family| *family.name == name) {
            return known;
        }
        let underline = if property.is_empty() { "" } else { "_" };
        let unit = match ending {
            "_volts" => ", in volts",
            "_celsius" => ", in degrees Celsius",
            "_amps" => ", in amperes",
            "_watt" => ", in watts",
            "_joule_total" => ", in joules",
            "_seconds" => ", in seconds",
            "_rpm" => ", in revolutions per minute",
            "_freq_mhz" => ", in megahertz",
            _ => "",
        };
        let help = [b"What sensors say in ", kind, b"*", underline.as_bytes(), property].concat();
        self.families.push(FamilyText {
            name: name.into(),
            help: [&help, unit.as_bytes(), b"."].concat().into(),
            kind: if kind == b"energy" && ending == "_joule_total" {
                Kind::Counter
            } else {
                Kind::Gauge
            },
            named: None,
        });
        self.families.len() - 1
    }
}

/// What ends a metric's name, and the scale of its values
/// (Documentation/hwmon/sysfs-interface.rst).
fn ending_and_scale(kind: &[u8], property: &[u8]) -> (&'static str, Scale) {
    match (kind, property) {
        (_, b"fault" | b"alarm") | (b"temp", b"type") => ("", Scale::One),
        (_, b"beep") => ("_enabled", Scale::One),
        (b"in" | b"cpu", _) => ("_volts", Scale::Thousandths),
        (b"temp", _) => ("_celsius", Scale::Thousandths),
        (b"curr", _) => ("_amps", Scale::Thousandths),
        (b"energy", _) => ("_joule_total", Scale::Millionths),
        (b"power", b"accuracy") | (b"humidity", _) => ("", Scale::Millionths),
        (b"power", b"average_interval" | b"average_interval_min" | b"average_interval_max") => {
            ("_seconds", Scale::Thousandths)
        }
        (b"power", _) => ("_watt", Scale::Millionths),
        (b"fan", b"input" | b"min" | b"max" | b"target") => ("_rpm", Scale::One),
        (b"freq", b"input") => ("_freq_mhz", Scale::Millionths),
        _ => ("", Scale::One),
    }
}

/// The label of each chip: its device's name, or else that of its driver, or else its directory's.
///
/// A device may have several chips. Then each has the name that its driver gives it in its label, too,
/// or its directory's where that is the same.
fn labels(chips: &[FoundChip]) -> Vec<Vec<u8>> {
    let base = |chip: &FoundChip| {
        let of_device = chip.device.as_deref().and_then(of_device);
        let named = || Some(cleaned(&chip.name)).filter(|name| !name.is_empty());
        of_device.or_else(named).unwrap_or_else(|| cleaned(&chip.entry))
    };
    let mut by_base: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut by_both: HashMap<(Vec<u8>, Vec<u8>), usize> = HashMap::new();
    for chip in chips {
        *by_base.entry(base(chip)).or_default() += 1;
        *by_both.entry((base(chip), cleaned(&chip.name))).or_default() += 1;
    }
    let label = |chip: &FoundChip| {
        let both = (base(chip), cleaned(&chip.name));
        if by_base.get(&both.0) == Some(&1) {
            return both.0;
        }
        let is_distinct = !both.1.is_empty() && by_both.get(&both) == Some(&1);
        let (base, name) = both;
        [base, if is_distinct { name } else { cleaned(&chip.entry) }].join(&b'_')
    };
    chips.iter().map(label).collect()
}
