//! Names of PCI devices, from the file `pci.ids` (pci.ids(5)).

use std::collections::HashMap;
use vitald_core::text::{self, lines, trim};

/// Where distributions have the file.
pub(super) const PATHS: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

/// The names of one device.
pub(super) struct Names {
    pub(super) vendor: Box<[u8]>,
    pub(super) device: Box<[u8]>,
    pub(super) subsystem_vendor: Box<[u8]>,
    pub(super) subsystem_device: Box<[u8]>,
    pub(super) class: Box<[u8]>,
}

/// What the file says. A key is all the numbers that lead to a name, one after another.
#[derive(Default)]
pub(super) struct Database<'t> {
    /// By vendor; by vendor and device; by vendor, device and those of the subsystem.
    devices: HashMap<Vec<u8>, &'t [u8]>,
    /// By class, subclass and programming interface, as far as each goes.
    classes: HashMap<Vec<u8>, &'t [u8]>,
}

impl<'t> Database<'t> {
    pub(super) fn parse(text: &'t [u8]) -> Self {
        let mut database = Database::default();
        // The numbers of the lines above, and how many of them there are.
        let mut above: [&[u8]; 2] = [b"", b""];
        let mut is_class = false;
        for line in lines(text) {
            let depth = line.iter().take_while(|byte| **byte == b'\t').count();
            let Some((number, name)) = split(&line[depth..]) else { continue };
            let number = match depth {
                0 => {
                    let class = number.strip_prefix(b"C ").map(trim);
                    is_class = class.is_some();
                    class.unwrap_or(number)
                }
                _ => number,
            };
            let key = match depth {
                0 => {
                    above = [number, b""];
                    number.to_vec()
                }
                1 => {
                    above[1] = number;
                    [above[0], number].concat()
                }
                2 if is_class => [above[0], above[1], number].concat(),
                2 => {
                    let Some((vendor, device)) = text::split_once(number, b' ') else { continue };
                    [above[0], above[1], vendor, trim(device)].concat()
                }
                _ => continue,
            };
            if is_class { &mut database.classes } else { &mut database.devices }.insert(key, name);
        }
        database
    }

    /// The names for the numbers of class, vendor, device, and vendor and device of the subsystem,
    /// each as the kernel writes it. What has no name has its number as its name.
    pub(super) fn names(&self, numbers: [&[u8]; 5]) -> Names {
        let [class, vendor, device, subsystem_vendor, subsystem_device] =
            numbers.map(|number| number.strip_prefix(b"0x").unwrap_or(number));
        let name = |key: &[&[u8]], number: &[u8]| -> Box<[u8]> {
            self.devices.get(&key.concat()).copied().unwrap_or(number).into()
        };
        Names {
            vendor: name(&[vendor], vendor),
            device: name(&[vendor, device], device),
            subsystem_vendor: name(&[subsystem_vendor], subsystem_vendor),
            subsystem_device: name(
                &[vendor, device, subsystem_vendor, subsystem_device],
                subsystem_device,
            ),
            class: self.class(class),
        }
    }

    /// The name of a class by as many of its digits as the file knows.
    fn class(&self, class: &[u8]) -> Box<[u8]> {
        let known = [6, 4, 2].iter().find_map(|digits| self.classes.get(class.get(..*digits)?));
        match known {
            Some(name) => (*name).into(),
            None => [b"Unknown class (", class, b")"].concat().into(),
        }
    }
}

/// Splits `1533  I210 Gigabit Network Connection`; a comment is no such line.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if line.starts_with(b"#") {
        return None;
    }
    let blanks = line.windows(2).position(|pair| pair == b"  ")?;
    Some((trim(&line[..blanks]), trim(&line[blanks..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: &[u8] = b"# A comment  with blanks\n\n\
        8086  Intel Corporation\n\
        \t1533  I210 Gigabit Network Connection\n\
        \t\t1043 8557  P9D WS\n\
        \t\t# another\n\
        \t1534\n\
        1043  ASUSTeK Computer Inc.\n\
        C 02  Network controller\n\
        \t00  Ethernet controller\n\
        C 0c  Serial bus controller\n\
        \t03  USB controller\n\
        \t\t30  XHCI\n";

    fn names(numbers: [&str; 5]) -> [String; 5] {
        let database = Database::parse(IDS);
        let names = database.names(numbers.map(str::as_bytes));
        [names.class, names.vendor, names.device, names.subsystem_vendor, names.subsystem_device]
            .map(|name| String::from_utf8(name.into()).unwrap())
    }

    #[test]
    fn names_are_found() {
        assert_eq!(
            names(["0x020000", "0x8086", "0x1533", "0x1043", "0x8557"]),
            [
                "Ethernet controller",
                "Intel Corporation",
                "I210 Gigabit Network Connection",
                "ASUSTeK Computer Inc.",
                "P9D WS"
            ]
        );
        assert_eq!(names(["0x0c0330", "", "", "", ""])[0], "XHCI");
        assert_eq!(names(["0x0c0340", "", "", "", ""])[0], "USB controller");
        assert_eq!(names(["0x028000", "", "", "", ""])[0], "Network controller");
    }

    #[test]
    fn what_is_not_known_keeps_its_number() {
        assert_eq!(
            names(["0xff0000", "0x8086", "0x1534", "0x8086", "0x0001"]),
            ["Unknown class (ff0000)", "Intel Corporation", "1534", "Intel Corporation", "0001"]
        );
    }

    #[test]
    fn odd_texts_are_taken() {
        for text in
            [&b""[..], b"\t", b"\t\tx", b"  ", b"\t\t\t1  a", b"C  \n\t00  a", b"\xff  \xff"]
        {
            Database::parse(text).names([b"", b"0x", b"\xff", b"1", b"0x1"]);
        }
    }
}
