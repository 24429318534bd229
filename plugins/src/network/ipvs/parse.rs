//! The lines of `/proc/net/ip_vs_stats` and `/proc/net/ip_vs`.

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use vitald_core::prelude::*;

/// A line of `proc/net/ip_vs`.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'t> {
    /// What IPVS hands on.
    Service(Service<'t>),
    /// Where it hands it on to.
    Backend(Endpoint, Figures),
    Heading,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Service<'t> {
    pub(super) protocol: &'t [u8],
    pub(super) at: At<'t>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum At<'t> {
    Endpoint(Endpoint),
    /// A mark that the firewall gives packets, in hexadecimal digits.
    Mark(&'t [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Endpoint {
    /// One of version 4 is mapped.
    pub(super) address: Ipv6Addr,
    pub(super) port: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) weight: u64,
    pub(super) active: u64,
    pub(super) inactive: u64,
}

impl Figures {
    pub(super) fn add(&mut self, other: Figures) {
        self.weight = self.weight.saturating_add(other.weight);
        self.active = self.active.saturating_add(other.active);
        self.inactive = self.inactive.saturating_add(other.inactive);
    }
}

impl Endpoint {
    pub(super) fn write_address(&self, into: &mut Vec<u8>) -> std::io::Result<()> {
        match self.address.to_ipv4_mapped() {
            Some(address) => write!(into, "{address}"),
            None => write!(into, "{}", self.address),
        }
    }
}

/// Takes `TCP  C0A80016:0CEA wlc`, `FWM  00000001 rr`, `  -> C0A85216:0CEA      Tunnel  100    248        2`,
/// or one of the headings.
pub(super) fn parse_line(line: &[u8]) -> Result<Line<'_>, Malformed> {
    let mut fields = Fields::new(line);
    match fields.next() {
        None | Some(b"IP" | b"Prot") => Ok(Line::Heading),
        Some(b"->") => {
            let endpoint = fields.text()?;
            if endpoint == b"RemoteAddress:Port" {
                return Ok(Line::Heading);
            }
            let endpoint = parse_endpoint(endpoint)
                .ok_or(Malformed::new(fields.offset() - endpoint.len(), "address:port"))?;
            let weight = fields.pass(1).u64()?;
            let [active, inactive] = [fields.u64()?, fields.u64()?];
            Ok(Line::Backend(endpoint, Figures { weight, active, inactive }))
        }
        Some(protocol @ b"FWM") => {
            Ok(Line::Service(Service { protocol, at: At::Mark(fields.text()?) }))
        }
        Some(protocol) => {
            let endpoint = fields.text()?;
            let endpoint = parse_endpoint(endpoint)
                .ok_or(Malformed::new(fields.offset() - endpoint.len(), "address:port"))?;
            Ok(Line::Service(Service { protocol, at: At::Endpoint(endpoint) }))
        }
    }
}

/// Takes `C0A80016:0CEA` or `[2001:0db8:0000:0000:0000:0000:0000:0001]:0CEA`.
fn parse_endpoint(text: &[u8]) -> Option<Endpoint> {
    let (address, port) = text.split_at_checked(text.len().checked_sub(5)?)?;
    let port = u16::try_from(hexadecimal(port.strip_prefix(b":")?)?).ok()?;
    let address = match address.strip_prefix(b"[") {
        Some(rest) => str::from_utf8(rest.strip_suffix(b"]")?).ok()?.parse().ok()?,
        None if address.len() == 8 => {
            Ipv4Addr::from(u32::try_from(hexadecimal(address)?).ok()?).to_ipv6_mapped()
        }
        None => return None,
    };
    Some(Endpoint { address, port })
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_hexdigit);
    is_number.then(|| Fields::new(digits).hex().ok())?
}

/// Takes the first line of numbers, all hexadecimal, that follows two lines of headings.
pub(super) fn parse_totals(text: &[u8]) -> Result<[u64; 5], Malformed> {
    let mut rest = lines(text);
    let Some(line) = rest.nth(2) else {
        return Err(Malformed::new(text.len(), "a third line"));
    };
    let moved = |malformed: Malformed| malformed.moved_by(rest.offset());
    let mut fields = Fields::new(line);
    let mut totals = [0; 5];
    for total in &mut totals {
        *total = fields.hex().map_err(moved)?;
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    #[test]
    fn addresses() {
        let text = |endpoint: &str| {
            let mut text = Vec::new();
            let endpoint = parse_endpoint(endpoint.as_bytes()).unwrap();
            endpoint.write_address(&mut text).unwrap();
            (String::from_utf8(text).unwrap(), endpoint.port)
        };
        assert_eq!(text("7f000001:ffff"), ("127.0.0.1".into(), 65_535));
        let zeros = "0000:0000:0000:0000:0000";
        assert_eq!(text(&format!("[{zeros}:ffff:0a00:0001]:0001")), ("10.0.0.1".into(), 1));
        assert_eq!(text(&format!("[{zeros}:0000:0000:0001]:0001")), ("::1".into(), 1));
        for odd in [
            "",
            ":0050",
            "0A0000010050",
            "0A00001:0050",
            "0A000001:050",
            "0A00000x:0050",
            "+A000001:0050",
            "0A000001:+050",
            "[::1:0050",
            "[x]:0050",
            "[]:0050",
            "0x00001:0050",
            "0A000001:00500",
        ] {
            assert_eq!(parse_endpoint(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn refuses_bad_text() {
        let bad = ["", "a\nb\n", "a\nb\n\n", "a\nb\n1 2 3 4\n", "a\nb\n1 2 3 4 x\n"];
        rejects(parse_totals, &bad);
        rejects(
            parse_line,
            &[
                "TCP",
                "TCP x rr",
                "FWM",
                "  ->",
                "  -> x",
                "  -> 0A000102:0050 Masq 1 2",
                "  -> 0A000102:0050 Masq -1 2 3",
                "NOISE",
            ],
        );
    }
}
