//! TCP sockets by state, by netlink (sock_diag(7)), which answers for the daemon's own network
//! namespace.

use vitald_core::host::{SocketDiagnostics, TcpSocket};
use vitald_core::prelude::*;

families! {
    /// TCP sockets in each state; `rx_queued_bytes` and `tx_queued_bytes` are what waits in their queues.
    CONNECTION_STATES: gauge = "node_tcp_connection_states" [state];
}

/// The states by the kernel's numbers (net/tcp_states.h), in node_exporter's words.
const STATES: [&[u8]; 12] = [
    b"unknown",
    b"established",
    b"syn_sent",
    b"syn_recv",
    b"fin_wait1",
    b"fin_wait2",
    b"time_wait",
    b"close",
    b"close_wait",
    b"last_ack",
    b"listen",
    b"closing",
];

register_collector!(Tcpstat);

struct Tcpstat {
    host: Host,
    diagnostics: SocketDiagnostics,
}

impl Collector for Tcpstat {
    about! {
        name: "tcpstat",
        summary: "TCP sockets, by state",
        families: FAMILIES,
        sources: ["netlink sock_diag", "proc/net/tcp6"],
    }
    const ENABLED: bool = false;
    // The kernel walks its whole table of sockets for each dump, which takes it tens of
    // milliseconds on a large or a busy host.
    const MAY_BLOCK: bool = true;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Tcpstat { host: host.clone(), diagnostics: host.socket_diagnostics() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let mut sums = Sums::default();
        self.diagnostics.tcp_over_ipv4(&mut |socket| sums.add(socket))?;
        // Without IPv6 there is no such file, and asking could load the module.
        if self.host.try_modified("proc/net/tcp6").is_ok() {
            self.diagnostics.tcp_over_ipv6(&mut |socket| sums.add(socket))?;
        }
        sums.push(batch);
        Ok(())
    }
}

#[derive(Default)]
struct Sums {
    sockets: [u64; STATES.len()],
    received: u64,
    sent: u64,
}

impl Sums {
    fn add(&mut self, socket: TcpSocket) {
        let state = usize::from(socket.state);
        self.sockets[if state < STATES.len() { state } else { 0 }] += 1;
        self.received += u64::from(socket.receive_queue);
        self.sent += u64::from(socket.send_queue);
    }

    /// A state without a socket is not shown, and without any socket nothing is.
    fn push(&self, batch: &mut Batch) {
        let present = STATES.iter().zip(self.sockets).filter(|(_, count)| *count > 0);
        let mut is_empty = true;
        for (state, count) in present {
            batch.row(&CONNECTION_STATES, [state], count);
            is_empty = false;
        }
        if !is_empty {
            batch.row(&CONNECTION_STATES, [b"rx_queued_bytes"], self.received);
            batch.row(&CONNECTION_STATES, [b"tx_queued_bytes"], self.sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn socket(family: u8, state: u8, receive_queue: u32, send_queue: u32) -> TcpSocket {
        TcpSocket { family, state, receive_queue, send_queue }
    }

    fn memory() -> MemoryHost {
        let memory = MemoryHost::from_files(&[("proc/net/tcp6", "")]);
        memory.set_tcp_sockets(vec![
            socket(2, 1, 10, 300),
            socket(2, 10, 0, 128),
            socket(10, 1, u32::MAX, 1),
            socket(10, 6, 0, 0),
            socket(2, 77, 0, 0),
        ]);
        memory
    }

    #[test]
    fn golden() {
        check::<Tcpstat>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_tcp_connection_states gauge
                node_tcp_connection_states{state="unknown"} 1
                node_tcp_connection_states{state="established"} 2
                node_tcp_connection_states{state="time_wait"} 1
                node_tcp_connection_states{state="listen"} 1
                node_tcp_connection_states{state="rx_queued_bytes"} 4.294967305e+09
                node_tcp_connection_states{state="tx_queued_bytes"} 429
            "#]],
        );
    }

    #[test]
    fn without_ipv6_it_is_not_asked_for() {
        let memory = memory();
        memory.remove("proc/net/tcp6");
        let (batch, outcome) = run(&mut open::<Tcpstat>(&memory.host(), &[]), None);
        outcome.unwrap();
        let established: Vec<f64> = batch.samples().map(|(_, value)| value).collect();
        assert_eq!(established, [1.0, 1.0, 1.0, 10.0, 428.0]);
    }

    #[test]
    fn without_a_socket_nothing_is_shown() {
        let memory = MemoryHost::new();
        memory.set_tcp_sockets(Vec::new());
        check::<Tcpstat>(&memory.host(), &[], &expect![""]);
    }

    /// The kernel was built without CONFIG_INET_DIAG.
    #[test]
    fn absent_is_an_error() {
        check_fails::<Tcpstat>(
            &MemoryHost::new().host(),
            &[],
            &expect!["netlink sock_diag: not on this host"],
            &expect![""],
        );
    }
}
