//! What an NTP server says of itself, by one query of SNTP (RFC 5905, section 14).

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};

use vitald_core::prelude::*;

mod packet;

use packet::{Measured, Reply, SECOND, request, seconds};

families! {
    /// How many servers lie between this one and a reference clock, which has 0 itself; 16 if unknown.
    STRATUM: gauge = "node_ntp_stratum";
    /// What the server says of the next leap second: none, one more, one less, or (3) that it does not
    /// know the time.
    LEAP: gauge = "node_ntp_leap";
    /// How long the query was on its way, there and back.
    ROUND_TRIP: gauge = "node_ntp_rtt_seconds";
    /// How far the server's clock is ahead of this host's.
    OFFSET: gauge = "node_ntp_offset_seconds";
    /// When the server's clock was last set or corrected, by its own reckoning, since the epoch.
    REFERENCE: gauge = "node_ntp_reference_timestamp_seconds";
    /// How long a query of the server's to its reference clock is on its way.
    ROOT_DELAY: gauge = "node_ntp_root_delay_seconds";
    /// How wrong the server's clock may be against its reference clock.
    ROOT_DISPERSION: gauge = "node_ntp_root_dispersion_seconds";
    /// Whether the server may be used: it is synchronized, near enough to its reference clock, and its
    /// clock does not contradict this host's.
    SANITY: gauge = "node_ntp_sanity";
}

settings! {
    /// The server to ask: an address of the loopback, or with `server_is_local` any address or name, with
    /// a port of its own behind a colon if need be.
    server: String = "127.0.0.1";
    /// The port of the server.
    server_port: u16 = 123 in 1..65535;
    /// The version of the protocol to ask in.
    protocol_version: u32 = 4 in 2..4;
    /// Take a server that has no address of the loopback: you certify that it is this host.
    server_is_local: bool = false;
    /// How many hosts the query may come to, the last one included; 0 leaves it to the system.
    ip_ttl: u32 = 1 in 0..255;
    /// How far from a reference clock a server may be that is sane.
    max_distance: Duration = "3.46608s";
    /// By how much the server's clock may contradict this host's.
    local_offset_tolerance: Duration = "1ms";
}

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(1);

const DAY: i64 = 86_400 * SECOND;

register_collector!(Ntp);

struct Ntp {
    settings: Settings,
    host: Host,
    name: String,
    port: u16,
    addresses: Vec<SocketAddr>,
    answer: Vec<u8>,
    secrets: RandomState,
    query: u64,
    /// The midnight after which a leap second that was announced is over, in nanoseconds since the epoch.
    leap_midnight: Option<i64>,
}

impl Collector for Ntp {
    about! {
        name: "ntp",
        summary: "What an NTP server says of its clock",
        families: FAMILIES,
        sources: ["NTP by UDP"],
        settings: Settings,
    }
    const ENABLED: bool = false;
    const MAY_BLOCK: bool = true;

    fn check(settings: &Settings) -> Result<()> {
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        if !settings.server_is_local && !settings.server.parse().is_ok_and(is_loopback) {
            return Err(Error::setting(
                "server",
                "must be an address of the loopback, such as 127.0.0.1, unless `server_is_local` is set",
            ));
        }
        host_and_port(&settings.server, settings.server_port)
            .map(|_| ())
            .ok_or_else(|| Error::setting("server", "expected a host, HOST:PORT or [ADDRESS]:PORT"))
    }

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let (name, port) = host_and_port(&settings.server, settings.server_port)
            .ok_or_else(|| Error::setting("server", "expected a host"))?;
        let name = name.to_owned();
        Ok(Ntp {
            settings,
            host: host.clone(),
            name,
            port,
            addresses: Vec::new(),
            answer: Vec::new(),
            secrets: RandomState::new(),
            query: 0,
            leap_midnight: None,
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        self.host.addresses(&self.name, self.port, &mut self.addresses)?;
        let Some(&address) = self.addresses.first() else { return Err(Error::absent("ntp")) };
        // The server has its time whatever the resolver took, as long as the run is of use.
        let deadline = batch.deadline(TIMEOUT);
        // The answer repeats it, so that only who has seen the query can answer. It says nothing of
        // this host's clock.
        self.query = self.query.wrapping_add(1);
        let cookie = self.secrets.hash_one((self.query, self.host.now()));
        let hops = u8::try_from(self.settings.ip_ttl).ok().filter(|hops| *hops > 0);
        let request = request(self.settings.protocol_version as u8, cookie);
        let times = self.host.exchange(address, hops, &request, &mut self.answer, deadline)?;
        let reply = Reply::parse(&self.answer, cookie)
            .map_err(|malformed| malformed.in_file(&format!("udp {address}")))?;
        self.push(&reply.measured(times), batch);
        Ok(())
    }
}

impl Ntp {
    fn push(&mut self, measured: &Measured, batch: &mut Batch) {
        let Measured { reply, .. } = measured;
        batch.value(&STRATUM, reply.stratum);
        batch.value(&LEAP, reply.leap);
        batch.value(&ROUND_TRIP, seconds(measured.round_trip));
        batch.value(&OFFSET, seconds(measured.offset));
        batch.value(&REFERENCE, reply.reference as f64 / SECOND as f64);
        batch.value(&ROOT_DELAY, seconds(reply.root_delay));
        batch.value(&ROOT_DISPERSION, seconds(reply.root_dispersion));
        batch.value(&SANITY, self.is_sane(measured));
    }

    fn is_sane(&mut self, measured: &Measured) -> bool {
        let now = measured.reply.time;
        if matches!(measured.reply.leap, 1 | 2) {
            // It is not announced any more when it is over.
            self.leap_midnight = Some(now - now.rem_euclid(DAY) + DAY);
        }
        // Some servers spread a leap second over the day before or after it.
        let is_near_leap =
            self.leap_midnight.is_some_and(|midnight| (midnight - now).unsigned_abs() < DAY as u64);
        let nanoseconds =
            |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let tolerance = nanoseconds(self.settings.local_offset_tolerance)
            .saturating_add(if is_near_leap { SECOND } else { 0 });
        measured.reply.is_valid()
            && measured.root_distance <= nanoseconds(self.settings.max_distance)
            && measured.contradiction <= tolerance
    }
}

/// Splits a server into its host and its port. With more than one colon it is an address of IPv6, which
/// has a port only behind brackets.
fn host_and_port(server: &str, port: u16) -> Option<(&str, u16)> {
    let (host, port) = if let Some(rest) = server.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        match after {
            "" => (host, port),
            _ => (host, after.strip_prefix(':')?.parse().ok()?),
        }
    } else {
        match server.split_once(':') {
            Some((host, own)) if !own.contains(':') => (host, own.parse().ok()?),
            _ => (server, port),
        }
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::packet::{SECONDS_TO_1970, since_epoch, timestamp};
    use super::*;
    use std::net::UdpSocket;
    use vitald_core::host::{ExchangeTimes, Roots};
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    /// 14 November 2023, 22:13:20: the clock of the host in memory.
    const NOW: u64 = 1_700_000_000 + SECONDS_TO_1970;

    /// A server of stratum 2 that got the query 1.5 s after it was sent, and answered at once.
    fn answer(request: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; 48];
        answer[..4].copy_from_slice(&[4 << 3 | 4, 2, 6, 0xe9]);
        answer[4..8].copy_from_slice(&0x0000_1000_u32.to_be_bytes());
        answer[8..12].copy_from_slice(&0x0000_0800_u32.to_be_bytes());
        put(&mut answer, 16, (NOW - 64) << 32 | 0x4000_0000);
        answer[24..32].copy_from_slice(&request[40..48]);
        put(&mut answer, 32, (NOW + 1) << 32 | 0x8000_0000);
        put(&mut answer, 40, (NOW + 1) << 32 | 0x8000_0000);
        answer
    }

    fn put(answer: &mut [u8], at: usize, time: u64) {
        answer[at..at + 8].copy_from_slice(&time.to_be_bytes());
    }

    /// A host whose server's answer is changed; it comes 3.25 s after the query was sent.
    fn memory(change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> MemoryHost {
        let memory = MemoryHost::new();
        let clock = memory.clone();
        memory.set_exchange(move |address, request| {
            assert_eq!((address, request.len()), ("127.0.0.1:123".parse().unwrap(), 48));
            let mut answer = answer(request);
            change(&mut answer);
            clock.set_now(Duration::from_millis(1_700_000_003_250));
            Ok(answer)
        });
        memory
    }

    fn page(memory: &MemoryHost, settings: &[(&str, Node)]) -> String {
        let (batch, outcome) = run(&mut open::<Ntp>(&memory.host(), settings), None);
        outcome.unwrap();
        render(&batch)
    }

    fn value(page: &str, name: &str) -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("node_ntp_{name} ")));
        line.expect("the family is there").parse().unwrap()
    }

    #[test]
    fn golden() {
        expect![[r#"
            # node_ntp_leap gauge
            node_ntp_leap 0
            # node_ntp_offset_seconds gauge
            node_ntp_offset_seconds -0.125
            # node_ntp_reference_timestamp_seconds gauge
            node_ntp_reference_timestamp_seconds 1.6999999362499998e+09
            # node_ntp_root_delay_seconds gauge
            node_ntp_root_delay_seconds 0.0625
            # node_ntp_root_dispersion_seconds gauge
            node_ntp_root_dispersion_seconds 0.03125
            # node_ntp_rtt_seconds gauge
            node_ntp_rtt_seconds 3.25
            # node_ntp_sanity gauge
            node_ntp_sanity 1
            # node_ntp_stratum gauge
            node_ntp_stratum 2
        "#]]
        .assert_eq(&page(&memory(|_| {}), &[]));
    }

    #[test]
    fn a_steady_server_gives_a_steady_page() {
        let memory = MemoryHost::new();
        memory.set_exchange(|_, request| Ok(answer(request)));
        let mut collector = open::<Ntp>(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        let (second, _) = run(&mut collector, Some(&first));
        assert_eq!(first.shape().id(), second.shape().id());
        assert_eq!(render(&first), render(&second));
    }

    #[test]
    fn the_query_says_the_version_and_nothing_of_this_host() {
        for version in [2, 3, 4] {
            let memory = MemoryHost::new();
            let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let sink = std::sync::Arc::clone(&seen);
            memory.set_exchange(move |_, request| {
                sink.lock().unwrap().push(request.to_vec());
                Ok(answer(request))
            });
            let settings = [("protocol_version", version.into())];
            let mut collector = open::<Ntp>(&memory.host(), &settings);
            for _ in 0..2 {
                run(&mut collector, None).1.unwrap();
            }
            let seen = seen.lock().unwrap();
            assert_eq!(seen[0][..4], [(version as u8) << 3 | 3, 0, 0, 0x20]);
            assert!(seen[0][4..40].iter().all(|byte| *byte == 0));
            assert_ne!(seen[0][40..], seen[1][40..]);
        }
    }

    #[test]
    fn a_clock_that_contradicts_this_one_is_not_sane() {
        // Received one second before it was sent: at a host that is behind.
        let early = |answer: &mut Vec<u8>| {
            put(answer, 32, (NOW - 1) << 32);
            put(answer, 40, (NOW - 1) << 32);
        };
        let page_of = |settings: &[(&str, Node)]| page(&memory(early), settings);
        assert_eq!(value(&page_of(&[]), "sanity"), 0.0);
        assert_eq!(value(&page_of(&[]), "offset_seconds"), -2.625);
        assert_eq!(value(&page_of(&[("local_offset_tolerance", "1s".into())]), "sanity"), 1.0);
        // Answered after the answer came.
        let late = memory(|answer| put(answer, 40, (NOW + 9) << 32));
        assert_eq!(value(&page(&late, &[]), "sanity"), 0.0);
        assert_eq!(value(&page(&late, &[]), "rtt_seconds"), 0.0);
    }

    #[test]
    fn a_server_that_is_far_away_is_not_sane() {
        // Half of the round trip and of the delay, and the dispersion: 1.6875 s.
        let sanity =
            |most: &str| value(&page(&memory(|_| {}), &[("max_distance", most.into())]), "sanity");
        assert_eq!((sanity("1687500us"), sanity("1687499us")), (1.0, 0.0));
    }

    #[test]
    fn a_server_that_is_not_synchronized_is_not_sane() {
        let sanity = |at: usize, bytes: &'static [u8]| {
            let memory = memory(move |answer| answer[at..at + bytes.len()].copy_from_slice(bytes));
            value(&page(&memory, &[("max_distance", "1h".into())]), "sanity")
        };
        assert_eq!(sanity(1, &[1]), 1.0);
        assert_eq!((sanity(1, &[0]), sanity(1, &[16])), (0.0, 0.0));
        assert_eq!(sanity(0, &[3 << 6 | 4 << 3 | 4]), 0.0);
        // A dispersion of 17 s; a clock that was never set; one set two days ago; one set in the future.
        assert_eq!(sanity(8, &[0, 17, 0, 0]), 0.0);
        assert_eq!(sanity(16, &[0; 8]), 0.0);
        let reference = |time: u64| {
            let memory = memory(move |answer| put(answer, 16, time << 32));
            value(&page(&memory, &[]), "sanity")
        };
        assert_eq!((reference(NOW - 172_800), reference(NOW + 2)), (0.0, 0.0));
    }

    /// As node_exporter shows a reference of 0: as the time at which the count begins anew.
    #[test]
    fn a_server_without_a_reference_has_one_in_2036() {
        let memory = memory(|answer| put(answer, 16, 0));
        assert_eq!(value(&page(&memory, &[]), "reference_timestamp_seconds"), 2_085_978_496.0);
    }

    #[test]
    fn a_leap_second_is_tolerated_until_its_day_is_over() {
        let memory = MemoryHost::new();
        let settings = [("local_offset_tolerance", "900ms".into())];
        let mut collector = open::<Ntp>(&memory.host(), &settings);
        let mut sanity_at = |now: u64, leap: u8| {
            memory.set_now(Duration::from_secs(now));
            memory.set_exchange(move |_, request| {
                let mut answer = answer(request);
                answer[0] |= leap << 6;
                put(&mut answer, 16, (now + SECONDS_TO_1970 - 64) << 32);
                put(&mut answer, 32, (now + SECONDS_TO_1970 - 1) << 32);
                put(&mut answer, 40, (now + SECONDS_TO_1970 - 1) << 32);
                Ok(answer)
            });
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            value(&render(&batch), "sanity")
        };
        // 31 December 2016, 23:00.
        let evening = 1_483_225_200;
        assert_eq!(sanity_at(evening, 0), 0.0);
        assert_eq!(sanity_at(evening, 1), 1.0);
        assert_eq!(sanity_at(evening + 2 * 3600, 0), 1.0);
        assert_eq!(sanity_at(evening + 26 * 3600, 0), 0.0);
        assert_eq!(sanity_at(evening, 2), 1.0);
    }

    #[test]
    fn times_are_right_at_the_end_of_an_era() {
        assert_eq!(since_epoch(0), 2_085_978_496 * SECOND);
        assert_eq!(since_epoch(u64::from(u32::MAX) << 32), 2_085_978_495 * SECOND);
        assert_eq!(since_epoch(SECONDS_TO_1970 << 32), 0);
        for time in [0, 1_700_000_000, 2_085_978_495, 2_085_978_496, 4_000_000_000] {
            assert_eq!(since_epoch(timestamp(Duration::from_secs(time))), time as i64 * SECOND);
        }
        let reply = Reply { received: 1 << 32, transmitted: 1 << 32, ..plain() };
        let sent = Duration::from_secs(2_085_978_495);
        let measured = reply.measured(ExchangeTimes { sent, received: sent });
        assert_eq!((measured.offset, measured.round_trip), (2 * SECOND, 0));
    }

    fn plain() -> Reply {
        let request = request(4, 7);
        Reply::parse(&answer(&request), 7).unwrap()
    }

    #[test]
    fn no_answer_overflows() {
        for seed in 0..2000_u64 {
            let noise = |at: u64| RandomNumbers(seed * 64 + at).next();
            let mut packet: Vec<u8> = (0..48).map(|at| noise(at) as u8).collect();
            packet[0] = packet[0] & 0xf8 | 4;
            put(&mut packet, 24, 7);
            let times = ExchangeTimes {
                sent: Duration::from_nanos(noise(50)),
                received: Duration::from_nanos(noise(51)),
            };
            if let Ok(reply) = Reply::parse(&packet, 7) {
                let memory = MemoryHost::new();
                let measured = reply.measured(times);
                open::<Ntp>(&memory.host(), &[]).is_sane(&measured);
            }
        }
        for byte in [0, 0xff] {
            let mut packet = vec![byte; 48];
            packet[0] = 4;
            put(&mut packet, 24, 7);
            put(&mut packet, 40, u64::MAX);
            Reply::parse(&packet, 7)
                .unwrap()
                .measured(ExchangeTimes { sent: Duration::MAX, received: Duration::MAX });
        }
    }

    /// Numbers that look random and are the same each time (splitmix64).
    struct RandomNumbers(u64);

    impl RandomNumbers {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ (mixed >> 27)
        }
    }

    #[test]
    fn what_is_not_an_answer_to_the_query_is_refused() {
        let refused = |change: fn(&mut Vec<u8>)| {
            let (batch, outcome) = run(&mut open::<Ntp>(&memory(change).host(), &[]), None);
            assert_eq!(batch.len(), 0);
            outcome.unwrap_err().to_string()
        };
        assert_eq!(
            refused(|answer| answer.truncate(47)),
            "udp 127.0.0.1:123: byte 47: expected a header of 48 bytes"
        );
        assert_eq!(
            refused(|answer| answer[0] = 4 << 3 | 3),
            "udp 127.0.0.1:123: byte 0: expected the answer of a server"
        );
        assert_eq!(
            refused(|answer| answer[31] ^= 1),
            "udp 127.0.0.1:123: byte 24: expected the cookie of the query"
        );
        assert_eq!(
            refused(|answer| put(answer, 40, 0)),
            "udp 127.0.0.1:123: byte 40: expected when it was sent"
        );
        assert_eq!(
            refused(|answer| put(answer, 32, u64::MAX)),
            "udp 127.0.0.1:123: byte 32: expected a time before the answer was sent"
        );
    }

    #[test]
    fn servers_and_ports() {
        for (server, expected) in [
            ("192.0.2.1", Some(("192.0.2.1", 123))),
            ("time.example", Some(("time.example", 123))),
            ("time.example:1123", Some(("time.example", 1123))),
            ("::1", Some(("::1", 123))),
            ("[::1]", Some(("::1", 123))),
            ("[::1]:1123", Some(("::1", 1123))),
            ("", None),
            (":123", None),
            ("a:", None),
            ("a:65536", None),
            ("[::1", None),
            ("[::1]1", None),
        ] {
            assert_eq!(host_and_port(server, 123), expected, "{server}");
        }
    }

    #[test]
    fn a_server_elsewhere_takes_a_word_of_the_user() {
        for taken in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            open::<Ntp>(&MemoryHost::new().host(), &[("server", taken.into())]);
        }
        for server in ["192.0.2.1", "localhost", "127.0.0.1:123"] {
            let refused = refusal::<Ntp>(&[("server", server.into())]);
            assert!(refused.starts_with("server: must be an address of the loopback"), "{refused}");
            let local = [("server", server.into()), ("server_is_local", true.into())];
            open::<Ntp>(&MemoryHost::new().host(), &local);
        }
        let local = [("server", "a:b".into()), ("server_is_local", true.into())];
        let refused = refusal::<Ntp>(&local);
        assert_eq!(refused, "server: expected a host, HOST:PORT or [ADDRESS]:PORT");
    }

    #[test]
    fn settings_have_bounds() {
        for (key, wrong) in [
            ("protocol_version", 1),
            ("protocol_version", 5),
            ("server_port", 0),
            ("server_port", 65_536),
            ("ip_ttl", 256),
        ] {
            let refused = refusal::<Ntp>(&[(key, wrong.into())]);
            assert!(refused.starts_with(key), "{refused}");
        }
    }

    /// Asks a server on this machine, which is given each query and answers with a datagram or not.
    fn ask(answer: Option<fn(&[u8]) -> Vec<u8>>) -> (String, Result<()>, Duration) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = i64::from(server.local_addr().unwrap().port());
        let serving = std::thread::spawn(move || {
            let mut query = [0; 100];
            let (length, client) = server.recv_from(&mut query).unwrap();
            if let Some(answer) = answer {
                server.send_to(&answer(&query[..length]), client).unwrap();
            }
            server
        });
        let host = Host::new(Roots::default());
        let mut collector = open::<Ntp>(&host, &[("server_port", port.into())]);
        let began = std::time::Instant::now();
        let (batch, outcome) = run(&mut collector, None);
        let took = began.elapsed();
        serving.join().unwrap();
        (render(&batch), outcome, took)
    }

    #[test]
    fn real_servers() {
        let (page, outcome, _) = ask(Some(|query| {
            let now = timestamp(Host::new(Roots::default()).now());
            let mut answer = answer(query);
            put(&mut answer, 16, now - (1 << 32));
            put(&mut answer, 32, now);
            put(&mut answer, 40, now);
            answer
        }));
        outcome.unwrap();
        assert_eq!(value(&page, "stratum"), 2.0);
        assert!(value(&page, "offset_seconds").abs() < 30.0, "{page}");

        let (page, outcome, _) = ask(Some(|_| b"HTTP/1.0 400 Bad Request\r\n".to_vec()));
        assert!(matches!(outcome, Err(Error::Malformed { .. })) && page.is_empty());

        let (page, outcome, took) = ask(None);
        assert!(matches!(outcome, Err(Error::Unreadable { .. })) && page.is_empty());
        assert!((TIMEOUT..TIMEOUT * 30).contains(&took), "{took:?}");
    }
}
