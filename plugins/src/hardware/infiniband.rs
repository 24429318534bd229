//! Ports of InfiniBand and RoCE adapters, from `/sys/class/infiniband`
//! (Documentation/ABI/stable/sysfs-class-infiniband).

use vitald_core::family::Family;
use vitald_core::host::attribute::Text;
use vitald_core::host::{Attribute, Attributes, Child};
use vitald_core::number::parse_u64;
use vitald_core::prelude::*;

/// A counter: the number in a file times a factor.
struct Counter<S> {
    family: Family<2>,
    attribute: Attribute<S, Text>,
    factor: u64,
}

/// Declares each counter as a family and as an attribute of the same name.
macro_rules! counters {
    ($($set:ident : $list:ident {$(
        $(#[doc = $doc:literal])*
        $counter:ident : $name:literal = $file:literal $(* $factor:literal)?;
    )*})*) => {
        families! {
            /// What an adapter is; always 1.
            INFO: gauge = "node_infiniband_info" [device, board_id, firmware_version, hca_type];
            /// The state of a port: 1 down, 2 starting, 3 armed, 4 active, 5 about to go down.
            STATE: gauge = "node_infiniband_state_id" [device, port];
            /// The physical state of a port: 1 asleep, 2 polling, 3 disabled, 4 training, 5 up, 6 recovering, 7 under test.
            PHYSICAL_STATE: gauge = "node_infiniband_physical_state_id" [device, port];
            /// How fast a port can send, in bytes per second.
            RATE: gauge = "node_infiniband_rate_bytes_per_second" [device, port];
            /// How long an adapter gives the same counts again, in whole seconds.
            LIFESPAN: gauge = "node_infiniband_lifespan_seconds" [device, port];
            $($(
                $(#[doc = $doc])*
                $counter: counter = $name [device, port];
            )*)*
        }

        $(
            attributes! {
                $set { $($counter: text = $file, optional;)* }
            }

            const $list: &[Counter<$set>] = &[$(Counter {
                family: $counter,
                attribute: $set::$counter,
                factor: 1 $(* $factor)?,
            }),*];
        )*
    };
}

counters! {
    // The kernel counts data in words of four bytes.
    PortCounters: COUNTERS {
        /// Multicast packets received, as kernels before 4.5 count them.
        LEGACY_MULTICAST_RECEIVED: "node_infiniband_legacy_multicast_packets_received_total" = "counters_ext/port_multicast_rcv_packets";
        /// Multicast packets sent, as kernels before 4.5 count them.
        LEGACY_MULTICAST_SENT: "node_infiniband_legacy_multicast_packets_transmitted_total" = "counters_ext/port_multicast_xmit_packets";
        /// Bytes received, as kernels before 4.5 count them.
        LEGACY_BYTES_RECEIVED: "node_infiniband_legacy_data_received_bytes_total" = "counters_ext/port_rcv_data_64" * 4;
        /// Packets received, as kernels before 4.5 count them.
        LEGACY_RECEIVED: "node_infiniband_legacy_packets_received_total" = "counters_ext/port_rcv_packets_64";
        /// Unicast packets received, as kernels before 4.5 count them.
        LEGACY_UNICAST_RECEIVED: "node_infiniband_legacy_unicast_packets_received_total" = "counters_ext/port_unicast_rcv_packets";
        /// Unicast packets sent, as kernels before 4.5 count them.
        LEGACY_UNICAST_SENT: "node_infiniband_legacy_unicast_packets_transmitted_total" = "counters_ext/port_unicast_xmit_packets";
        /// Bytes sent, as kernels before 4.5 count them.
        LEGACY_BYTES_SENT: "node_infiniband_legacy_data_transmitted_bytes_total" = "counters_ext/port_xmit_data_64" * 4;
        /// Packets sent, as kernels before 4.5 count them.
        LEGACY_SENT: "node_infiniband_legacy_packets_transmitted_total" = "counters_ext/port_xmit_packets_64";
        /// How often buffers overran for several periods of flow control in a row.
        BUFFER_OVERRUNS: "node_infiniband_excessive_buffer_overrun_errors_total" = "counters/excessive_buffer_overrun_errors";
        /// How often the link failed to recover from an error and went down.
        LINK_DOWNED: "node_infiniband_link_downed_total" = "counters/link_downed";
        /// How often the link recovered from an error.
        LINK_RECOVERIES: "node_infiniband_link_error_recovery_total" = "counters/link_error_recovery";
        /// How often the port had more physical errors than it may.
        INTEGRITY_ERRORS: "node_infiniband_local_link_integrity_errors_total" = "counters/local_link_integrity_errors";
        /// Multicast packets received, bad ones included.
        MULTICAST_RECEIVED: "node_infiniband_multicast_packets_received_total" = "counters/multicast_rcv_packets";
        /// Multicast packets sent, bad ones included.
        MULTICAST_SENT: "node_infiniband_multicast_packets_transmitted_total" = "counters/multicast_xmit_packets";
        /// Packets received at a switch's port and dropped by a rule.
        CONSTRAINT_RECEIVED: "node_infiniband_port_constraint_errors_received_total" = "counters/port_rcv_constraint_errors";
        /// Bytes received.
        BYTES_RECEIVED: "node_infiniband_port_data_received_bytes_total" = "counters/port_rcv_data" * 4;
        /// Packets received and dropped because the port was down or congested.
        DISCARDS_RECEIVED: "node_infiniband_port_discards_received_total" = "counters/port_rcv_discards";
        /// Packets received with an error.
        ERRORS_RECEIVED: "node_infiniband_port_errors_received_total" = "counters/port_rcv_errors";
        /// Packets received, bad ones included.
        RECEIVED: "node_infiniband_port_packets_received_total" = "counters/port_rcv_packets";
        /// Packets received that another port had marked as bad.
        REMOTE_ERRORS: "node_infiniband_port_receive_remote_physical_errors_total" = "counters/port_rcv_remote_physical_errors";
        /// Packets received that a switch could not forward.
        RELAY_ERRORS: "node_infiniband_port_receive_switch_relay_errors_total" = "counters/port_rcv_switch_relay_errors";
        /// Packets not sent from a switch's port by a rule.
        CONSTRAINT_SENT: "node_infiniband_port_constraint_errors_transmitted_total" = "counters/port_xmit_constraint_errors";
        /// Bytes sent.
        BYTES_SENT: "node_infiniband_port_data_transmitted_bytes_total" = "counters/port_xmit_data" * 4;
        /// Packets not sent because the port was down or congested.
        DISCARDS_SENT: "node_infiniband_port_discards_transmitted_total" = "counters/port_xmit_discards";
        /// Packets sent, bad ones included.
        SENT: "node_infiniband_port_packets_transmitted_total" = "counters/port_xmit_packets";
        /// Ticks in which the port had data to send and could send none.
        WAITS: "node_infiniband_port_transmit_wait_total" = "counters/port_xmit_wait";
        /// Small errors on the lanes of the link.
        SYMBOL_ERRORS: "node_infiniband_symbol_error_total" = "counters/symbol_error";
        /// Unicast packets received, bad ones included.
        UNICAST_RECEIVED: "node_infiniband_unicast_packets_received_total" = "counters/unicast_rcv_packets";
        /// Unicast packets sent, bad ones included.
        UNICAST_SENT: "node_infiniband_unicast_packets_transmitted_total" = "counters/unicast_xmit_packets";
        /// Management packets received and dropped for want of resources.
        MANAGEMENT_DROPPED: "node_infiniband_vl15_dropped_total" = "counters/VL15_dropped";
    }
    // Only Mellanox's and Intel's newer adapters have these.
    HardwareCounters: HARDWARE_COUNTERS {
        /// Requests received that had been carried out before.
        DUPLICATE_REQUESTS: "node_infiniband_duplicate_requests_packets_total" = "hw_counters/duplicate_request";
        /// Acknowledgements that implied that an earlier one was lost.
        IMPLIED_NAKS: "node_infiniband_implied_nak_seq_errors_total" = "hw_counters/implied_nak_seq_err";
        /// How often no acknowledgement came in time.
        LOCAL_TIMEOUTS: "node_infiniband_local_ack_timeout_errors_total" = "hw_counters/local_ack_timeout_err";
        /// Congestion notifications sent.
        NOTIFICATIONS_SENT: "node_infiniband_np_cnp_packets_sent_total" = "hw_counters/np_cnp_sent";
        /// RoCE packets received that were marked for congestion.
        MARKED_RECEIVED: "node_infiniband_np_ecn_marked_roce_packets_received_total" = "hw_counters/np_ecn_marked_roce_packets";
        /// Packets dropped because no receive request was posted.
        OUT_OF_BUFFER: "node_infiniband_out_of_buffer_drops_total" = "hw_counters/out_of_buffer";
        /// Packets received out of sequence.
        OUT_OF_SEQUENCE: "node_infiniband_out_of_sequence_packets_received_total" = "hw_counters/out_of_sequence";
        /// How often the other side said that a packet was out of sequence.
        SEQUENCE_ERRORS: "node_infiniband_packet_sequence_errors_total" = "hw_counters/packet_seq_err";
        /// Requests that completed with an error.
        REQUESTER_ERRORS: "node_infiniband_req_cqes_errors_total" = "hw_counters/req_cqe_error";
        /// Requests that completed because their queue was flushed.
        REQUESTER_FLUSHES: "node_infiniband_req_cqes_flush_errors_total" = "hw_counters/req_cqe_flush_error";
        /// Requests for memory that the other side did not allow.
        REQUESTER_ACCESS_ERRORS: "node_infiniband_req_remote_access_errors_total" = "hw_counters/req_remote_access_errors";
        /// Requests that the other side found invalid.
        REQUESTER_INVALID: "node_infiniband_req_remote_invalid_request_errors_total" = "hw_counters/req_remote_invalid_request";
        /// Responses that completed with an error.
        RESPONDER_ERRORS: "node_infiniband_resp_cqes_errors_total" = "hw_counters/resp_cqe_error";
        /// Responses that completed because their queue was flushed.
        RESPONDER_FLUSHES: "node_infiniband_resp_cqes_flush_errors_total" = "hw_counters/resp_cqe_flush_error";
        /// Responses with a wrong length.
        RESPONDER_LENGTH_ERRORS: "node_infiniband_resp_local_length_errors_total" = "hw_counters/resp_local_length_error";
        /// Requests received for memory that is not allowed.
        RESPONDER_ACCESS_ERRORS: "node_infiniband_resp_remote_access_errors_total" = "hw_counters/resp_remote_access_errors";
        /// How often the other side said that it was not ready.
        NOT_READY: "node_infiniband_rnr_nak_retry_packets_received_total" = "hw_counters/rnr_nak_retry_err";
        /// Adaptive retransmissions of RoCE packets.
        RETRANSMISSIONS: "node_infiniband_roce_adp_retransmits_total" = "hw_counters/roce_adp_retrans";
        /// Timeouts of RoCE packets from adaptive retransmission.
        RETRANSMISSION_TIMEOUTS: "node_infiniband_roce_adp_retransmits_timeout_total" = "hw_counters/roce_adp_retrans_to";
        /// How often RoCE's slow restart was used.
        SLOW_RESTARTS_USED: "node_infiniband_roce_slow_restart_used_total" = "hw_counters/roce_slow_restart";
        /// Congestion notifications that RoCE's slow restart made.
        SLOW_RESTART_NOTIFICATIONS: "node_infiniband_roce_slow_restart_cnps_total" = "hw_counters/roce_slow_restart_cnps";
        /// How often the state became slow restart.
        SLOW_RESTARTS: "node_infiniband_roce_slow_restart_total" = "hw_counters/roce_slow_restart_trans";
        /// Congestion notifications received and followed.
        NOTIFICATIONS_HANDLED: "node_infiniband_rp_cnp_packets_handled_total" = "hw_counters/rp_cnp_handled";
        /// Congestion notifications received and ignored.
        NOTIFICATIONS_IGNORED: "node_infiniband_rp_cnp_ignored_packets_received_total" = "hw_counters/rp_cnp_ignored";
        /// Atomic requests received.
        ATOMIC_REQUESTS: "node_infiniband_rx_atomic_requests_total" = "hw_counters/rx_atomic_requests";
        /// Requests received for a dynamic connection.
        CONNECT_REQUESTS: "node_infiniband_rx_dct_connect_requests_total" = "hw_counters/rx_dct_connect";
        /// RoCE packets received with a wrong checksum.
        CHECKSUM_ERRORS: "node_infiniband_rx_icrc_encapsulated_errors_total" = "hw_counters/rx_icrc_encapsulated";
        /// Read requests received.
        READ_REQUESTS: "node_infiniband_rx_read_requests_total" = "hw_counters/rx_read_requests";
        /// Write requests received.
        WRITE_REQUESTS: "node_infiniband_rx_write_requests_total" = "hw_counters/rx_write_requests";
    }
}

attributes! {
    Adapter {
        BOARD: text = "board_id", optional, slow;
        FIRMWARE: text = "fw_ver", optional, slow;
        TYPE: text = "hca_type", optional, slow;
    }
}

attributes! {
    Port {
        STATE: before_colon = "state", optional;
        PHYSICAL_STATE: before_colon = "phys_state", optional;
        RATE: first_f64 * 125e6 = "rate", optional;
    }
}

attributes! {
    Lifespan {
        MILLISECONDS: u64 = "hw_counters/lifespan", optional;
    }
}

settings! {
    devices: Filter {
        /// Adapters to show, by name.
        include device_include;
        /// Adapters to leave out, by name.
        exclude device_exclude;
    };
}

register_collector!(Infiniband);

struct Infiniband {
    adapters: Walk<Adapter>,
    ports: Walk<Port>,
    counters: Walk<PortCounters>,
    lifespans: Walk<Lifespan>,
    hardware_counters: Walk<HardwareCounters>,
}

impl Collector for Infiniband {
    about! {
        name: "infiniband",
        summary: "Ports of InfiniBand and RoCE adapters",
        families: FAMILIES,
        sources: [
            "sys/class/infiniband/*/board_id",
            "sys/class/infiniband/*/fw_ver",
            "sys/class/infiniband/*/hca_type",
            "sys/class/infiniband/*/ports/*/state",
            "sys/class/infiniband/*/ports/*/phys_state",
            "sys/class/infiniband/*/ports/*/rate",
            "sys/class/infiniband/*/ports/*/counters/*",
            "sys/class/infiniband/*/ports/*/counters_ext/*",
            "sys/class/infiniband/*/ports/*/hw_counters/*",
        ],
        settings: Settings,
    }
    // The adapter's firmware is asked for each count.
    const MAY_BLOCK: bool = true;
    const DEVICES: Option<Devices> = Some(Devices::of("sys/class/infiniband"));
    const OWN_DESCRIPTORS: bool = true;
    const SINCE: Since = Since::Source;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let filter = settings.devices.clone();
        Ok(Infiniband {
            adapters: host.walk("sys/class/infiniband/*").only(0, move |name| filter.takes(name)),
            ports: ports(host, &settings, |_| true),
            counters: ports(host, &settings, |_| true),
            lifespans: ports(host, &settings, has_hardware_counters),
            hardware_counters: ports(host, &settings, has_hardware_counters),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for adapter in self.adapters.refresh()? {
            let labels = [
                adapter.name(0),
                adapter.text(&Adapter::BOARD)?,
                adapter.text(&Adapter::FIRMWARE)?,
                adapter.text(&Adapter::TYPE)?,
            ];
            batch.row(&INFO, labels, 1);
        }
        for port in self.ports.optional()? {
            let labels = batch.labels([port.name(0), port.name(1)]);
            port.push(batch, &STATE, labels, &Port::STATE)?;
            port.push(batch, &PHYSICAL_STATE, labels, &Port::PHYSICAL_STATE)?;
            port.push(batch, &RATE, labels, &Port::RATE)?;
        }
        for port in self.counters.optional()? {
            push(batch, &port, COUNTERS)?;
        }
        for port in self.lifespans.optional()? {
            if let Some(milliseconds) = port.number(&Lifespan::MILLISECONDS, batch)? {
                // node_exporter divides whole numbers.
                let seconds = (milliseconds / 1000.0).floor();
                batch.row(&LIFESPAN, [port.name(0), port.name(1)], seconds);
            }
        }
        for port in self.hardware_counters.optional()? {
            push(batch, &port, HARDWARE_COUNTERS)?;
        }
        Ok(())
    }
}

/// A walk over the ports of adapters that the filter takes.
fn ports<S: Attributes>(
    host: &Host,
    settings: &Settings,
    takes: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
) -> Walk<S> {
    let filter = settings.devices.clone();
    host.walk("sys/class/infiniband/*/ports/*")
        .only(0, move |name| takes(name) && filter.takes(name))
        .only(1, |name| parse_u64(name).is_some())
}

/// Whether node_exporter looks for the counters of the hardware: others call theirs by other names.
fn has_hardware_counters(adapter: &[u8]) -> bool {
    adapter.starts_with(b"mlx5_") || adapter.starts_with(b"irdma")
}

fn push<S: Attributes>(
    batch: &mut Batch,
    port: &Child<'_, S>,
    counters: &[Counter<S>],
) -> Result<()> {
    let labels = batch.labels([port.name(0), port.name(1)]);
    for counter in counters {
        let Some(text) = port.optional_text(&counter.attribute)? else { continue };
        if let Some(Some(count)) = batch.tolerate(parse_count(text)) {
            batch.push(&counter.family, labels, count.wrapping_mul(counter.factor));
        }
    }
    Ok(())
}

/// Takes a count, or `N/A (no PMA)`, which older kernels write where an adapter does not count.
fn parse_count(text: &[u8]) -> Result<Option<u64>, Malformed> {
    if text.starts_with(b"N/A") {
        return Ok(None);
    }
    text::single_u64(text).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    const CLASS: &str = "sys/class/infiniband";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for (path, content) in [
            ("mlx5_0/board_id", "MT_0000000008"),
            ("mlx5_0/fw_ver", "20.35.1012"),
            ("mlx5_0/hca_type", "MT4123"),
            ("mlx5_0/ports/1/state", "4: ACTIVE"),
            ("mlx5_0/ports/1/phys_state", "5: LinkUp"),
            ("mlx5_0/ports/1/rate", "200 Gb/sec (4X HDR)"),
            ("mlx5_0/ports/1/counters/port_rcv_data", "250"),
            ("mlx5_0/ports/1/counters/port_rcv_packets", "11"),
            ("mlx5_0/ports/1/counters/symbol_error", "N/A (no PMA)"),
            ("mlx5_0/ports/1/hw_counters/lifespan", "12500"),
            ("mlx5_0/ports/1/hw_counters/out_of_buffer", "3"),
            ("mlx5_0/ports/1/hw_counters/unknown", "1"),
            ("mlx4_0/fw_ver", "2.42.5000"),
            ("mlx4_0/ports/2/state", "1: DOWN"),
            ("mlx4_0/ports/2/rate", "2.5 Gb/sec (1X SDR)"),
            ("mlx4_0/ports/2/counters_ext/port_xmit_data_64", "18446744073709551615"),
            ("mlx4_0/ports/2/hw_counters/out_of_buffer", "another one's"),
            ("mlx4_0/ports/x/state", "1: no port"),
        ] {
            memory.write(format!("{CLASS}/{path}"), format!("{content}\n"));
        }
        memory
    }

    #[test]
    fn golden() {
        check::<Infiniband>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_infiniband_info gauge
            node_infiniband_info{device="mlx4_0",board_id="",firmware_version="2.42.5000",hca_type=""} 1
            node_infiniband_info{device="mlx5_0",board_id="MT_0000000008",firmware_version="20.35.1012",hca_type="MT4123"} 1
            # node_infiniband_legacy_data_transmitted_bytes_total counter
            node_infiniband_legacy_data_transmitted_bytes_total{device="mlx4_0",port="2"} 1.8446744073709552e+19
            # node_infiniband_lifespan_seconds gauge
            node_infiniband_lifespan_seconds{device="mlx5_0",port="1"} 12
            # node_infiniband_out_of_buffer_drops_total counter
            node_infiniband_out_of_buffer_drops_total{device="mlx5_0",port="1"} 3
            # node_infiniband_physical_state_id gauge
            node_infiniband_physical_state_id{device="mlx5_0",port="1"} 5
            # node_infiniband_port_data_received_bytes_total counter
            node_infiniband_port_data_received_bytes_total{device="mlx5_0",port="1"} 1000
            # node_infiniband_port_packets_received_total counter
            node_infiniband_port_packets_received_total{device="mlx5_0",port="1"} 11
            # node_infiniband_rate_bytes_per_second gauge
            node_infiniband_rate_bytes_per_second{device="mlx4_0",port="2"} 3.125e+08
            node_infiniband_rate_bytes_per_second{device="mlx5_0",port="1"} 2.5e+10
            # node_infiniband_state_id gauge
            node_infiniband_state_id{device="mlx4_0",port="2"} 1
            node_infiniband_state_id{device="mlx5_0",port="1"} 4
        "##]],
        );
    }

    #[test]
    fn a_filter_takes_adapters() {
        let shown = |settings: &[(&str, Node)]| {
            run(&mut open::<Infiniband>(&memory().host(), settings), None).0.len()
        };
        assert_eq!(shown(&[]), 12);
        assert_eq!(shown(&[("device_include", "^mlx4".into())]), 4);
        assert_eq!(shown(&[("device_exclude", "^mlx4".into())]), 8);
        assert_eq!(shown(&[("device_include", "mlx".into()), ("device_exclude", "5".into())]), 4);
    }

    #[test]
    fn what_is_bad_or_forbidden_is_left_out_alone() {
        let memory = memory();
        memory.write(format!("{CLASS}/mlx5_0/ports/1/state"), "ACTIVE\n");
        memory.write(format!("{CLASS}/mlx5_0/ports/1/counters/port_rcv_data"), "-1\n");
        memory.fail(format!("{CLASS}/mlx5_0/ports/1/counters/port_rcv_packets"), 13);
        memory.fail(format!("{CLASS}/mlx4_0/ports/2/rate"), 22);
        let (batch, outcome) = run(&mut open::<Infiniband>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.malformed().map(|(count, _)| count)), (8, Some(2)));
    }

    #[test]
    fn an_adapter_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Infiniband>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.remove(format!("{CLASS}/mlx5_0"));
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert_eq!(batch.len(), 4);
        memory.write(format!("{CLASS}/irdma0/ports/1/hw_counters/rx_read_requests"), "5\n");
        assert_eq!(run(&mut collector, Some(&batch)).0.len(), 6);
    }

    #[test]
    fn refuses_bad_counts() {
        rejects(parse_count, &["", "x", "-1", "1 2", "not available"]);
    }

    #[test]
    fn a_host_without_the_class_is_said() {
        check_fails::<Infiniband>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/class/infiniband: not on this host"],
            &expect![""],
        );
    }
}
