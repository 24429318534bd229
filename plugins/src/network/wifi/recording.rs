//! Recorded answers: `interfaces.json`, and in a directory of each interface's name `bss.json` and
//! `stationinfo.json`, as node_exporter's tests have them.

use super::answer::{Answer, Network, Show, Station};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use vitald_core::prelude::*;

/// The most that is read of a file.
const MOST_BYTES: usize = 1 << 20;

pub(super) struct Recording {
    host: Host,
    directory: Box<str>,
    buffer: Vec<u8>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "lowercase")]
struct InterfaceFile {
    name: String,
    /// In megahertz.
    frequency: u32,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "lowercase")]
struct NetworkFile {
    ssid: String,
    bssid: String,
    status: i64,
}

/// Times are in nanoseconds, rates in bits per second.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "lowercase")]
struct StationFile {
    hardwareaddr: String,
    connected: u64,
    inactive: u64,
    receivedbytes: u64,
    transmittedbytes: u64,
    receivedpackets: u64,
    transmittedpackets: u64,
    signal: i64,
    transmitretries: u64,
    transmitfailed: u64,
    beaconloss: u64,
    receivebitrate: u64,
    transmitbitrate: u64,
}

impl Recording {
    pub(super) fn new(host: &Host, directory: &str) -> Self {
        Recording {
            host: host.clone(),
            directory: format!("file:{}", directory.trim_end_matches('/')).into(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn collect(&mut self, show: Show<'_>, batch: &mut Batch) -> Result<()> {
        let path = format!("{}/interfaces.json", self.directory);
        let interfaces: Vec<InterfaceFile> =
            self.read(&path)?.ok_or_else(|| Error::absent(&*path))?;
        for InterfaceFile { name, frequency } in interfaces {
            if name.is_empty() {
                continue;
            }
            let device = name.as_bytes();
            show(device, Answer::Interface { megahertz: frequency }, batch);
            let path = format!("{}/{name}/bss.json", self.directory);
            if let Some(NetworkFile { ssid, bssid, status }) = self.read(&path)? {
                let address = decode_base64(&bssid).ok_or_else(|| not_base64(&path))?;
                let network = Network { address: &address, name: ssid.as_bytes(), status };
                show(device, Answer::Network(network), batch);
            }
            let path = format!("{}/{name}/stationinfo.json", self.directory);
            for station in self.read::<Vec<StationFile>>(&path)?.unwrap_or_default() {
                let address =
                    decode_base64(&station.hardwareaddr).ok_or_else(|| not_base64(&path))?;
                show(device, Answer::Station(station.of(&address)), batch);
            }
        }
        Ok(())
    }

    /// What a file has in JSON; nothing if it is absent.
    fn read<T: DeserializeOwned>(&mut self, path: &str) -> Result<Option<T>> {
        match self.host.try_read_regular(path, MOST_BYTES, &mut self.buffer) {
            Ok(text) => parse(text).map(Some).map_err(|malformed| malformed.in_file(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::from_io(path, error)),
        }
    }
}

impl StationFile {
    fn of<'a>(&self, address: &'a [u8]) -> Station<'a> {
        let seconds = |nanoseconds: u64| {
            (nanoseconds / 1_000_000_000) as f64 + (nanoseconds % 1_000_000_000) as f64 / 1e9
        };
        Station {
            address,
            connected_seconds: seconds(self.connected),
            inactive_seconds: seconds(self.inactive),
            received_bytes: self.receivedbytes,
            transmitted_bytes: self.transmittedbytes,
            received_packets: self.receivedpackets,
            transmitted_packets: self.transmittedpackets,
            signal: self.signal,
            retries: self.transmitretries,
            failed: self.transmitfailed,
            beacon_losses: self.beaconloss,
            receive_rate: self.receivebitrate,
            transmit_rate: self.transmitbitrate,
        }
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(text).map_err(|error| {
        let before = lines(text).take(error.line().saturating_sub(1));
        let at = before.map(|line| line.len() + 1).sum::<usize>() + error.column();
        Malformed::new(at.min(text.len()), "other JSON")
    })
}

fn not_base64(path: &str) -> Error {
    Malformed::new(0, "an address in base64").in_file(path)
}

/// Takes what Go writes for bytes: four letters for three, with `=` for what is missing at the end (RFC 4648).
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let (mut bits, mut count) = (0_u32, 0);
    for letter in digits.bytes() {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64() {
        let of = |text| decode_base64(text).map(|bytes| String::from_utf8(bytes).unwrap());
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(of(text).as_deref(), Some(bytes));
        }
        assert_eq!(decode_base64("+/8="), Some(vec![0xfb, 0xff]));
        for odd in ["Zg", "Zg=", "Z===", "Zm9?", "====", "Zg==Zg=="] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }

    #[test]
    fn an_error_has_a_place() {
        let wrong = parse::<Vec<InterfaceFile>>(b"[\n{\"name\": 7}]").err();
        assert_eq!(wrong, Some(Malformed::new(12, "other JSON")));
        assert_eq!(parse::<Vec<InterfaceFile>>(b"").err(), Some(Malformed::new(0, "other JSON")));
    }
}
