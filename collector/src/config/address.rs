//! Addresses of listeners: how they are written, and which exclude each other.

use crate::plan::{Address, Admin};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use vitald_core::settings::Node;

/// The bytes of `sun_path` in `struct sockaddr_un`, less the closing zero (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// How addresses are written.
const EXPECTED: &str = "expected an address such as \"127.0.0.1:9100\", \"[::]:9100\", \":9100\", \
                        \"unix:/run/vitald/metrics.sock\" or \"systemd\"";

/// The sockets that systemd hands over.
pub(crate) const SYSTEMD: &str = "systemd";

/// Reads an address as a user writes it.
pub(crate) fn parse(text: &str) -> Result<Address, String> {
    if text == SYSTEMD {
        return Ok(Address::Systemd);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            _ if !path.starts_with('/') => Err("a unix socket needs an absolute path".to_owned()),
            _ if path.len() > LONGEST_SOCKET_PATH => {
                Err(format!("the path of a unix socket has at most {LONGEST_SOCKET_PATH} bytes"))
            }
            _ if path.contains(char::is_control) => {
                Err("the path of a unix socket may not have control characters".to_owned())
            }
            _ => Ok(Address::Unix(path.into())),
        };
    }
    if let Some(port) = text.strip_prefix(':')
        && let Ok(port) = port.parse()
    {
        let socket = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        return Ok(Address::Tcp { socket, dual: true });
    }
    match text.parse() {
        Ok(socket) => Ok(of_one_family(socket)),
        Err(_) if text.parse::<IpAddr>().is_ok() => Err("the port is missing".to_owned()),
        Err(_) if has_large_port(text) => Err("a port is at most 65535".to_owned()),
        Err(_) => match text.parse() {
            Ok(port) => Err(port_alone(port)),
            Err(_) => Err(format!("{EXPECTED} (host names are not looked up)")),
        },
    }
}

/// What is wrong with a value that is no text.
pub(super) fn refusal_of(node: &Node) -> String {
    match node {
        Node::Integer(number) if let Ok(port) = u16::try_from(*number) => port_alone(port),
        other => format!("{EXPECTED}, found {}", other.noun()),
    }
}

/// How a port is written that was written without an address.
fn port_alone(port: u16) -> String {
    format!(
        "a port alone is no address; write \":{port}\" for every address of this host, or \"127.0.0.1:{port}\" for \
         clients on this host alone"
    )
}

/// Whether what follows the last colon is a number, and too large for a port.
fn has_large_port(text: &str) -> bool {
    let port = text.rsplit_once(':').map_or("", |(_, port)| port);
    port.len() > 4 && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_err()
}

/// Reads an address as Go's `net.Listen("tcp", text)` does: what is in brackets is the host, be it
/// an address of either family or a name.
///
/// Of a name with several addresses Go takes the first of IPv4. Looking a name up may take long.
pub(crate) fn parse_go(text: &str) -> Result<Address, String> {
    if text.starts_with("vsock:") {
        return Err(
            "vitald does not listen on vsock; listen on 127.0.0.1 and have a proxy pass it on, such as \
             socat VSOCK-LISTEN:9100,fork TCP:127.0.0.1:9100"
                .to_owned(),
        );
    }
    let (host, port) = split_host(text).map_err(|mistake| format!("address {text}: {mistake}"))?;
    let port: u16 = match port.parse() {
        Ok(port) => port,
        Err(_) if port.is_empty() => 0,
        Err(_) => return Err(format!("address {text}: invalid port")),
    };
    if host.is_empty() || host == "::" {
        // Go opens one socket for both families here.
        let socket = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        return Ok(Address::Tcp { socket, dual: true });
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(of_one_family(SocketAddr::new(address, port)));
    }
    let found = (host, port).to_socket_addrs();
    let mut found: Vec<SocketAddr> =
        found.map_err(|error| format!("address {text}: {error}"))?.collect();
    found.sort_by_key(|address| !address.is_ipv4());
    match found.first() {
        Some(socket) => Ok(of_one_family(*socket)),
        None => Err(format!("address {text}: this name has no address")),
    }
}

/// An address of IPv4 in the form of IPv6, such as `::ffff:127.0.0.1`, is that of IPv4, as in Go: a
/// socket of IPv6 alone cannot be bound to it.
fn of_one_family(socket: SocketAddr) -> Address {
    let socket = match socket.ip().to_canonical() {
        IpAddr::V4(address) => SocketAddr::new(IpAddr::V4(address), socket.port()),
        IpAddr::V6(_) => socket,
    };
    Address::Tcp { socket, dual: false }
}

/// Host and port, by the rules and in the words of Go's `net.SplitHostPort`.
fn split_host(text: &str) -> Result<(&str, &str), &'static str> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err("missing port in address");
    };
    let host = match host.strip_prefix('[') {
        Some(inside) => match inside.split_once(']') {
            Some((host, "")) => host,
            Some(_) => return Err("missing port in address"),
            // The last colon was inside the brackets, or there is no other one.
            None if text.ends_with(']') => return Err("missing port in address"),
            None => return Err("missing ']' in address"),
        },
        None if host.contains(':') => return Err("too many colons in address"),
        None => host,
    };
    match [host, port].iter().find_map(|part| part.find(['[', ']']).map(|at| &part[at..=at])) {
        Some("[") => Err("unexpected '[' in address"),
        Some(_) => Err("unexpected ']' in address"),
        None => Ok((host, port)),
    }
}

/// The address as [`parse`] reads it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { socket, dual: true } => write!(f, ":{}", socket.port()),
            Address::Tcp { socket, dual: false } => socket.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Systemd => f.write_str(SYSTEMD),
        }
    }
}

/// The rule as the configuration has it.
impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Admin::Off => f.write_str("off"),
            Admin::Local => f.write_str("local"),
            Admin::Token(file) => write!(f, "token:{file}"),
        }
    }
}

/// Whether the kernel refuses to listen on both: one socket covers the other's address and port.
///
/// Port 0 asks for any free port, so it never meets another one.
pub(super) fn overlap(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Unix(a), Address::Unix(b)) => a == b,
        (Address::Systemd, Address::Systemd) => true,
        (Address::Tcp { socket: x, .. }, Address::Tcp { socket: y, .. }) => {
            x.port() == y.port() && x.port() != 0 && (covers(a, y.ip()) || covers(b, x.ip()))
        }
        _ => false,
    }
}

fn covers(address: &Address, ip: IpAddr) -> bool {
    match address {
        Address::Tcp { dual: true, .. } => true,
        Address::Tcp { socket, .. } if socket.ip().is_unspecified() => {
            socket.is_ipv4() == ip.is_ipv4()
        }
        Address::Tcp { socket, .. } => socket.ip() == ip,
        Address::Unix(_) | Address::Systemd => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in
            ["127.0.0.1:9100", "[::]:9100", ":9100", "unix:/run/x.sock", "0.0.0.0:0", "systemd"]
        {
            assert_eq!(parse(text).map(|address| address.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn an_address_of_ipv4_in_the_form_of_ipv6_is_that_of_ipv4() {
        let address = parse("[::ffff:127.0.0.1]:9").map(|address| address.to_string());
        assert_eq!(address.as_deref(), Ok("127.0.0.1:9"));
    }

    #[test]
    fn go_takes_any_host_in_brackets() {
        for (text, read) in [
            (":9", ":9"),
            ("[]:9", ":9"),
            ("[::]:9", ":9"),
            ("0.0.0.0:9", "0.0.0.0:9"),
            ("[0.0.0.0]:9", "0.0.0.0:9"),
            ("[127.0.0.1]:9", "127.0.0.1:9"),
            ("[::1]:9", "[::1]:9"),
            ("[::ffff:127.0.0.1]:9", "127.0.0.1:9"),
            ("localhost:9", "127.0.0.1:9"),
            ("[localhost]:9", "127.0.0.1:9"),
            ("127.0.0.1:", "127.0.0.1:0"),
            ("[127.0.0.1]:", "127.0.0.1:0"),
        ] {
            let address = parse_go(text).map(|address| address.to_string());
            assert_eq!(address.as_deref(), Ok(read), "{text}");
        }
    }

    #[test]
    fn go_says_what_is_wrong() {
        for (text, mistake) in [
            ("9", "missing port in address"),
            ("[::1]", "missing port in address"),
            ("[127.0.0.1]9:9", "missing port in address"),
            ("[::1:9", "missing ']' in address"),
            ("::1:9", "too many colons in address"),
            ("a[b:9", "unexpected '[' in address"),
            ("a]:9", "unexpected ']' in address"),
            ("[a[]:9", "unexpected '[' in address"),
            ("127.0.0.1:x", "invalid port"),
            ("127.0.0.1:65536", "invalid port"),
        ] {
            let expected = format!("address {text}: {mistake}");
            assert_eq!(parse_go(text).err(), Some(expected), "{text}");
        }
    }

    #[test]
    fn sockets_that_exclude_each_other() {
        let both_ways = |a: &str, b: &str| match (parse(a), parse(b)) {
            (Ok(a), Ok(b)) => overlap(&a, &b) && overlap(&b, &a),
            _ => panic!("{a} or {b} is not an address"),
        };
        assert!(both_ways("127.0.0.1:1", "127.0.0.1:1"));
        assert!(both_ways("127.0.0.1:1", "0.0.0.0:1"));
        assert!(both_ways("127.0.0.1:1", ":1"));
        assert!(both_ways("[::]:1", "[::1]:1"));
        assert!(both_ways("unix:/a", "unix:/a"));
        assert!(both_ways("systemd", "systemd"));
        assert!(!both_ways("systemd", ":1"));
        assert!(!both_ways("127.0.0.1:1", "127.0.0.2:1"));
        assert!(!both_ways("127.0.0.1:1", "127.0.0.1:2"));
        assert!(!both_ways("0.0.0.0:1", "[::]:1"));
        assert!(!both_ways(":0", ":0"));
        assert!(!both_ways("unix:/a", "unix:/b"));
    }
}
