//! What systemd says of itself and of the system.

use super::connection::{MANAGER, OBJECT, Service};
use vitald_core::host::BusReader;
use vitald_core::number::parse_f64;
use vitald_core::prelude::*;

const PROPERTIES: [[&str; 2]; 5] = [
    [MANAGER, "Version"],
    [MANAGER, "Virtualization"],
    [MANAGER, "SystemState"],
    [MANAGER, "UnitsLoadTimestampMonotonic"],
    [MANAGER, "NInstalledJobs"],
];

/// The first version that knows the state of the system and when a timer elapsed.
const KNOWS_STATES: f64 = 212.0;

/// systemd's manager, as it was when it was asked last.
#[derive(Default)]
pub(super) struct Manager {
    version: Vec<u8>,
    virtualization: Vec<u8>,
    is_running: Option<bool>,
    loaded: Option<u64>,
    jobs: Option<u32>,
}

/// When systemd loaded its units last, all together, and how many jobs it has had since it
/// started. Without a change of either no unit file has been read anew for a unit that is started or
/// stopped.
pub(super) type Serial = (u64, u32);

impl Manager {
    pub(super) fn ask(&mut self, service: &mut Service<'_>) -> Result<()> {
        self.version.clear();
        self.virtualization.clear();
        self.virtualization.extend_from_slice(b"unknown");
        (self.is_running, self.loaded, self.jobs) = (None, None, None);
        let properties = PROPERTIES.iter().map(|property| (OBJECT, property));
        service.properties(properties, |place, value| self.read(place, value))?;
        if version_number(&self.version).is_none() {
            self.version.clear();
        }
        Ok(())
    }

    fn read(&mut self, place: usize, value: &mut BusReader<'_>) -> Result<(), Malformed> {
        match place {
            0 => replace(&mut self.version, value.text()?),
            1 => match value.text()? {
                b"" => replace(&mut self.virtualization, b"none"),
                text => replace(&mut self.virtualization, text),
            },
            2 => self.is_running = Some(value.text()? == b"running"),
            3 => self.loaded = Some(value.number_64()?),
            _ => self.jobs = Some(value.number_32()?),
        }
        Ok(())
    }

    /// Its version; empty where that is not known.
    pub(super) fn version(&self) -> &[u8] {
        &self.version
    }

    /// The number in its version, or 0.
    pub(super) fn version_number(&self) -> f64 {
        version_number(&self.version).unwrap_or_default()
    }

    pub(super) fn virtualization(&self) -> &[u8] {
        &self.virtualization
    }

    pub(super) fn knows_states(&self) -> bool {
        self.version_number() >= KNOWS_STATES
    }

    pub(super) fn is_running(&self) -> Result<bool> {
        self.is_running.ok_or_else(|| Error::absent("bus SystemState"))
    }

    /// None before version 246, and where systemd does not say.
    pub(super) fn serial(&self) -> Option<Serial> {
        self.loaded.zip(self.jobs)
    }
}

fn replace(text: &mut Vec<u8>, by: &[u8]) {
    text.clear();
    text.extend_from_slice(by);
}

/// The first number of three digits or more, with a fraction if it has one: 252.39 of `v252.39-1`.
fn version_number(version: &[u8]) -> Option<f64> {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = version;
    loop {
        let start = rest.iter().position(u8::is_ascii_digit)?;
        rest = &rest[start..];
        let mut length = digits(rest);
        if length >= 3 {
            let fraction = rest[length..].strip_prefix(b".").map_or(0, digits);
            length += if fraction > 0 { 1 + fraction } else { 0 };
            return parse_f64(&rest[..length]);
        }
        rest = &rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_a_number() {
        for (version, number) in [
            ("252.39-1~deb12u1", Some(252.39)),
            ("v259-rc1", Some(259.0)),
            ("260.", Some(260.0)),
            ("systemd 1.2.44 (204-5ubuntu20)", Some(204.0)),
            ("44", None),
            ("", None),
            ("rawhide", None),
        ] {
            assert_eq!(version_number(version.as_bytes()), number, "{version}");
        }
        assert_eq!(version_number(&[b'9'; 400]), None, "beyond all numbers");
    }
}
