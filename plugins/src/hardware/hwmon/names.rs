//! Names of sensors' files.

/// What a sensor can measure, by the beginning of its files' names.
const KINDS: [&[u8]; 14] = [
    b"vrm",
    b"beep_enable",
    b"update_interval",
    b"in",
    b"cpu",
    b"fan",
    b"pwm",
    b"temp",
    b"curr",
    b"power",
    b"energy",
    b"humidity",
    b"intrusion",
    b"freq",
];

/// The properties that hardly ever change. Those that tell of an alarm, what was measured over a while, and what a
/// fan is to do, are not among them.
const STEADY: [&[u8]; 10] = [
    b"label",
    b"type",
    b"min",
    b"max",
    b"crit",
    b"lcrit",
    b"emergency",
    b"rated_min",
    b"rated_max",
    b"accuracy",
];

/// The parts of a file's name such as `temp1_crit_alarm`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SensorFile<'n> {
    /// One of the kinds: `temp`.
    pub(super) kind: &'n [u8],
    /// Without zeros in front: `1`; `0` where there is none.
    pub(super) number: &'n [u8],
    /// `crit_alarm`, or nothing.
    pub(super) property: &'n [u8],
}

impl<'n> SensorFile<'n> {
    /// Takes a name apart. `power` alone is the directory of each device's power management.
    pub(super) fn of(name: &'n [u8]) -> Option<Self> {
        let letters = name.iter().position(u8::is_ascii_digit).unwrap_or(name.len());
        let (kind, rest) = name.split_at(letters);
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        let (number, rest) = rest.split_at(digits);
        let (kind, number, property) = match rest {
            [] => (kind, number, rest),
            [b'_', property @ ..] if !property.is_empty() => (kind, number, property),
            // A `_` before the number may begin a property, too.
            _ => {
                let end = kind.iter().rposition(|byte| *byte == b'_')?;
                (&name[..end], &b""[..], &name[end + 1..])
            }
        };
        let zeros = number.iter().position(|digit| *digit != b'0').unwrap_or(number.len());
        let number = if zeros == number.len() { b"0" } else { &number[zeros..] };
        (KINDS.contains(&kind) && name != b"power").then_some(SensorFile { kind, number, property })
    }

    /// Whether it says what a sensor is, or a limit: what only a driver that begins and an administrator change.
    pub(super) fn hardly_changes(&self) -> bool {
        let base = self.property.strip_suffix(b"_hyst").unwrap_or(self.property);
        STEADY.contains(&base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_apart() {
        let of = |name: &'static str| {
            SensorFile::of(name.as_bytes()).map(|file| {
                [file.kind, file.number, file.property].map(|part| str::from_utf8(part).unwrap())
            })
        };
        assert_eq!(of("temp1_input"), Some(["temp", "1", "input"]));
        assert_eq!(of("temp007_crit_alarm"), Some(["temp", "7", "crit_alarm"]));
        assert_eq!(of("pwm2"), Some(["pwm", "2", ""]));
        assert_eq!(of("pwm1_auto_point2_temp"), Some(["pwm", "1", "auto_point2_temp"]));
        assert_eq!(of("beep_enable"), Some(["beep_enable", "0", ""]));
        assert_eq!(of("vrm"), Some(["vrm", "0", ""]));
        assert_eq!(of("in_x1y"), Some(["in", "0", "x1y"]));
        assert_eq!(of("fan00_input"), Some(["fan", "0", "input"]));
        for name in ["", "1", "name", "power", "fan_input", "fan1input", "fan1_", "temp_1", "_"] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
