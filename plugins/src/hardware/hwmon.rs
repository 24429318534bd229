//! Sensors of hardware monitoring chips, from `/sys/class/hwmon`
//! (Documentation/hwmon/sysfs-interface.rst, Documentation/ABI/testing/sysfs-class-hwmon).

mod names;
mod plan;

use crate::hardware::chip_names::clean;
use names::SensorFile;
use plan::{FoundChip, FoundFile, Plan, Scale, What};
use vitald_core::number::parse_f64;
use vitald_core::prelude::*;

families! {
    /// What its driver calls a chip; always 1.
    CHIP_NAMES: gauge = "node_hwmon_chip_names" [chip, chip_name];
    /// What its driver says that a sensor measures; always 1.
    SENSOR_LABEL: gauge = "node_hwmon_sensor_label" [chip, sensor, label];
    /// Whether a chip may beep.
    BEEP_ENABLED: gauge = "node_hwmon_beep_enabled" [chip, sensor];
    /// The version of the standard that the processor's voltage is chosen by.
    REGULATOR_VERSION: gauge = "node_hwmon_voltage_regulator_version" [chip, sensor];
    /// How long a chip takes to measure all anew.
    UPDATE_INTERVAL: gauge = "node_hwmon_update_interval_seconds" [chip, sensor];
}

attributes! {
    Chip {
        NAME: text = "name", optional, slow;
    }
}

attributes! {
    File {
        CONTENT: line = "", optional;
    }
}

settings! {
    chips: Filter {
        /// Chips to show, by the label `chip`.
        include chip_include;
        /// Chips to leave out, by the label `chip`.
        exclude chip_exclude;
    };
    sensors: Filter {
        /// Sensors to show, by the labels of chip and sensor, as in `platform_coretemp_0;temp3`.
        include sensor_include;
        /// Sensors to leave out, by the labels of chip and sensor.
        exclude sensor_exclude;
    };
}

register_collector!(Hwmon);

struct Hwmon {
    host: Host,
    settings: Settings,
    chips: Walk<Chip>,
    /// Files in the chips' directories, and in those of their devices, as old drivers have them.
    files: [Walk<File>; 2],
    /// Everything that the plan depends on.
    known: Rows<()>,
    key: Vec<u8>,
    plan: Plan,
    labels: Vec<SensorLabel>,
}

/// The label of a sensor as it was at this run.
#[derive(Default)]
struct SensorLabel {
    is_there: bool,
    cleaned: Vec<u8>,
}

impl Collector for Hwmon {
    about! {
        name: "hwmon",
        summary: "Temperatures, voltages, fans and other sensors of the hardware",
        families: FAMILIES,
        patterns: [FamilyPattern {
            name: "node_hwmon_*",
            kinds: &[Kind::Gauge, Kind::Counter],
            help: "What sensors say in the files that the name tells, in base units where the kind of sensor has one.",
        }],
        sources: ["sys/class/hwmon/*/*", "sys/class/hwmon/*/device/*"],
        settings: Settings,
    }
    const CHARTS: &'static [Chart] = &[
        Chart::by(
            &["chip", "sensor"],
            "Temperatures",
            &[Curve::of("now", value("node_hwmon_temp_celsius"))],
        ),
        Chart::by(&["chip", "sensor"], "Fans", &[Curve::of("now", value("node_hwmon_fan_rpm"))]),
        Chart::by(
            &["chip", "sensor"],
            "Power",
            &[Curve::of("now", value("node_hwmon_power_watt"))],
        ),
    ];
    // Many chips are on slow buses, and disks answer when they have time.
    const MAY_BLOCK: bool = true;
    const DEVICES: Option<Devices> = Some(Devices::of("sys/class/hwmon"));
    const OWN_DESCRIPTORS: bool = true;
    const SINCE: Since = Since::Source;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let files = ["sys/class/hwmon/*/*", "sys/class/hwmon/*/device/*"].map(|pattern| {
            let walk = host.walk(pattern).files().only(1, |name| SensorFile::of(name).is_some());
            // Labels and limits are more than half of the files of most chips, and many a driver asks the
            // hardware for a limit each time.
            let is_slow =
                |name: &[u8]| SensorFile::of(name).is_some_and(|file| file.hardly_changes());
            walk.slow_children(is_slow)
        });
        Ok(Hwmon {
            host: host.clone(),
            settings,
            chips: host.walk("sys/class/hwmon/*"),
            files,
            known: Rows::new(),
            key: Vec::new(),
            plan: Plan::default(),
            labels: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        self.chips.refresh()?;
        for files in &mut self.files {
            files.optional()?;
        }
        if self.has_changed() {
            self.make_plan();
        }
        let Hwmon { files, plan, labels, .. } = self;
        for family in &mut plan.families {
            family.named = None;
        }
        for chip in plan.chips.iter().filter(|chip| !chip.name.is_empty()) {
            batch.row(&CHIP_NAMES, [&chip.label, &chip.name], 1);
        }
        push_labels(batch, files, plan, labels);
        push_values(batch, files, plan, labels);
        Ok(())
    }
}

impl Hwmon {
    /// Whether chips or files have come or gone since the last run.
    fn has_changed(&mut self) -> bool {
        let Hwmon { chips, files, known, key, .. } = self;
        let mut run = known.begin();
        let mut meet = |parts: [&[u8]; 3]| {
            key.clear();
            for part in parts {
                key.extend_from_slice(part);
                key.push(b'/');
            }
            run.row(key, || ());
        };
        for chip in chips.children() {
            let inode = chip.inode().to_ne_bytes();
            meet([chip.name(0), &inode, chip.text(&Chip::NAME).unwrap_or_default()]);
        }
        for (place, files) in files.iter().enumerate() {
            for file in files.children() {
                meet([file.name(0), file.name(1), if place == 0 { b"" } else { b"device" }]);
            }
        }
        run.finish()
    }

    fn make_plan(&mut self) {
        let Hwmon { host, settings, chips, files, plan, labels, .. } = self;
        let mut found_chips = Vec::new();
        for chip in chips.children() {
            let device = str::from_utf8(chip.name(0)).ok().and_then(|entry| {
                let mut path = Vec::new();
                host.real_path(&format!("sys/class/hwmon/{entry}/device"), &mut path).ok()?;
                Some(path.into())
            });
            let name = chip.text(&Chip::NAME).unwrap_or_default().into();
            found_chips.push(FoundChip { entry: chip.name(0).into(), device, name });
        }
        let all = files.iter().flat_map(Walk::children);
        let found_files: Vec<FoundFile> = all
            .map(|file| FoundFile { entry: file.name(0).into(), name: file.name(1).into() })
            .collect();
        *plan = Plan::of(
            &found_chips,
            &found_files,
            |chip| settings.chips.takes(chip),
            |sensor| settings.sensors.takes(sensor),
        );
        labels.clear();
        labels.resize_with(plan.labels, SensorLabel::default);
    }
}

/// Pushes the labels of sensors, and keeps them for the frequencies.
fn push_labels(
    batch: &mut Batch,
    files: &[Walk<File>; 2],
    plan: &Plan,
    labels: &mut [SensorLabel],
) {
    let all = files.iter().flat_map(Walk::children);
    for (file, shown) in all.zip(&plan.files) {
        let Some(plan::Shown { chip, sensor, what: What::Label(place) }) = shown else { continue };
        let Some(label) = labels.get_mut(*place) else { continue };
        label.cleaned.clear();
        label.is_there = false;
        // Drivers fail in many ways, each of which means only that there is no label now.
        if let Ok(Some(text)) = file.optional_text(&File::CONTENT) {
            clean(text, &mut label.cleaned);
            label.is_there = true;
            batch.row(&SENSOR_LABEL, [&plan.chips[*chip].label, sensor, text], 1);
        }
    }
}

/// Pushes the numbers of sensors.
fn push_values(
    batch: &mut Batch,
    files: &[Walk<File>; 2],
    plan: &mut Plan,
    labels: &[SensorLabel],
) {
    let Plan { chips, families, files: shown, .. } = plan;
    let all = files.iter().flat_map(Walk::children);
    for (file, shown) in all.zip(&*shown) {
        let Some(plan::Shown { chip, sensor, what }) = shown else { continue };
        if matches!(what, What::Label(_)) {
            continue;
        }
        let Ok(Some(text)) = file.optional_text(&File::CONTENT) else { continue };
        let labelled = [&*chips[*chip].label, &**sensor];
        if matches!(what, What::BeepEnable) {
            batch.row(&BEEP_ENABLED, labelled, text == b"1");
            continue;
        }
        // Not all that a driver shows is a number.
        let Some(number) = parse_f64(text) else { continue };
        let (family, scale, sensor) = match *what {
            What::Label(_) | What::BeepEnable => continue,
            What::RegulatorVersion => {
                batch.row(&REGULATOR_VERSION, labelled, number);
                continue;
            }
            What::UpdateInterval => {
                batch.row(&UPDATE_INTERVAL, labelled, Scale::Thousandths.apply(number));
                continue;
            }
            What::Value { family, scale } => (family, scale, &**sensor),
            What::Frequency { family, label } => match labels.get(label) {
                Some(label) if label.is_there => (family, Scale::Millionths, &*label.cleaned),
                _ => continue,
            },
        };
        let family = &mut families[family];
        let named = *family
            .named
            .get_or_insert_with(|| batch.family(&[&family.name], family.kind, &[&family.help]));
        let labels = batch.label_pairs(&[(b"chip", labelled[0]), (b"sensor", sensor)]);
        batch.push_named(named, Suffix::None, labels, scale.apply(number));
    }
}

#[cfg(test)]
mod tests;
