//! Names of chips, made as node_exporter makes them.

/// Appends a name in small letters, with a `_` for each character that may not be in a metric's
/// name but none at its ends.
pub(crate) fn clean(name: &[u8], into: &mut Vec<u8>) {
    let start = into.len();
    let mut push = |character: char| match character.to_ascii_lowercase() {
        allowed @ ('a'..='z' | '0'..='9' | ':' | '_') => into.push(allowed as u8),
        _ => into.push(b'_'),
    };
    for chunk in name.utf8_chunks() {
        chunk.valid().chars().for_each(&mut push);
        chunk.invalid().iter().for_each(|_| push('_'));
    }
    while into.len() > start && into.last() == Some(&b'_') {
        into.pop();
    }
    let blanks = into[start..].iter().take_while(|byte| **byte == b'_').count();
    into.drain(start..start + blanks);
}

/// As [`clean`], into memory of its own.
pub(crate) fn cleaned(name: &[u8]) -> Vec<u8> {
    let mut cleaned = Vec::new();
    clean(name, &mut cleaned);
    cleaned
}

/// Names a chip by the device that has it: `platform_coretemp_0` where that is
/// `sys/devices/platform/coretemp.0`.
pub(crate) fn of_device(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts = path.rsplit(|byte| *byte == b'/').map(cleaned);
    let device = parts.next().filter(|device| !device.is_empty())?;
    match parts.next().filter(|above| !above.is_empty()) {
        Some(above) => Some([above, device].join(&b'_')),
        None => Some(device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned() {
        let text = |name: &[u8]| String::from_utf8(cleaned(name)).unwrap();
        assert_eq!(text(b"0000:01:00.0"), "0000:01:00_0");
        assert_eq!(text(b" ACPI--Fan_ \n"), "acpi__fan");
        assert_eq!(text("a\u{b5}b".as_bytes()), "a_b");
        assert_eq!(text(b"a\xff\xfeb"), "a__b");
        assert_eq!(text(b"__"), "");
        let mut joined = b"_in".to_vec();
        clean(b"_max", &mut joined);
        assert_eq!(joined, b"_inmax");
    }

    #[test]
    fn chips_are_named_by_their_devices() {
        let named =
            |path: &str| of_device(path.as_bytes()).map(|name| String::from_utf8(name).unwrap());
        assert_eq!(named("sys/devices/platform/it87.2608").as_deref(), Some("platform_it87_2608"));
        assert_eq!(named("sys/devices/_/it87").as_deref(), Some("it87"));
        assert_eq!(named("it87").as_deref(), Some("it87"));
        assert_eq!(named("sys/devices/platform/_"), None);
    }
}
