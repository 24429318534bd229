//! Packets that IPsec refused, from `/proc/net/xfrm_stat` (Documentation/networking/xfrm/xfrm_proc.rst).

use vitald_core::family::Family;
use vitald_core::prelude::*;

families! {
    /// Packets received that were refused for another reason than those below.
    IN_ERROR: counter = "node_xfrm_in_error_packets_total";
    /// Packets received for which there was no memory.
    IN_BUFFER_ERROR: counter = "node_xfrm_in_buffer_error_packets_total";
    /// Packets received with a bad header.
    IN_HDR_ERROR: counter = "node_xfrm_in_hdr_error_packets_total";
    /// Packets received for which there is no state: no security association has their index, address and protocol.
    IN_NO_STATES: counter = "node_xfrm_in_no_states_packets_total";
    /// Packets received that the protocol of their state refused, such as for a wrong key.
    IN_STATE_PROTO_ERROR: counter = "node_xfrm_in_state_proto_error_packets_total";
    /// Packets received that the mode of their state refused.
    IN_STATE_MODE_ERROR: counter = "node_xfrm_in_state_mode_error_packets_total";
    /// Packets received whose sequence number was outside of the window.
    IN_STATE_SEQ_ERROR: counter = "node_xfrm_in_state_seq_error_packets_total";
    /// Packets received whose state had expired.
    IN_STATE_EXPIRED: counter = "node_xfrm_in_state_expired_packets_total";
    /// Packets received whose state has another option, such as another UDP encapsulation.
    IN_STATE_MISMATCH: counter = "node_xfrm_in_state_mismatch_packets_total";
    /// Packets received whose state was not valid.
    IN_STATE_INVALID: counter = "node_xfrm_in_state_invalid_packets_total";
    /// Packets received whose states do not match the template of their policy.
    IN_TMPL_MISMATCH: counter = "node_xfrm_in_tmpl_mismatch_packets_total";
    /// Packets received for whose states there is no policy.
    IN_NO_POLS: counter = "node_xfrm_in_no_pols_packets_total";
    /// Packets received that a policy discards.
    IN_POL_BLOCK: counter = "node_xfrm_in_pol_block_packets_total";
    /// Packets received whose policy has an error.
    IN_POL_ERROR: counter = "node_xfrm_in_pol_error_packets_total";
    /// Packets to be sent that were refused for another reason than those below.
    OUT_ERROR: counter = "node_xfrm_out_error_packets_total";
    /// Packets to be sent for which no bundle of states could be made.
    OUT_BUNDLE_GEN_ERROR: counter = "node_xfrm_out_bundle_gen_error_packets_total";
    /// Packets to be sent whose bundle of states did not pass its check.
    OUT_BUNDLE_CHECK_ERROR: counter = "node_xfrm_out_bundle_check_error_packets_total";
    /// Packets to be sent for which there is no state.
    OUT_NO_STATES: counter = "node_xfrm_out_no_states_packets_total";
    /// Packets to be sent that the protocol of their state refused.
    OUT_STATE_PROTO_ERROR: counter = "node_xfrm_out_state_proto_error_packets_total";
    /// Packets to be sent that the mode of their state refused.
    OUT_STATE_MODE_ERROR: counter = "node_xfrm_out_state_mode_error_packets_total";
    /// Packets to be sent for which there was no sequence number left.
    OUT_STATE_SEQ_ERROR: counter = "node_xfrm_out_state_seq_error_packets_total";
    /// Packets to be sent whose state had expired.
    OUT_STATE_EXPIRED: counter = "node_xfrm_out_state_expired_packets_total";
    /// Packets to be sent that a policy discards.
    OUT_POL_BLOCK: counter = "node_xfrm_out_pol_block_packets_total";
    /// Packets to be sent whose policy was removed meanwhile.
    OUT_POL_DEAD: counter = "node_xfrm_out_pol_dead_packets_total";
    /// Packets to be sent whose policy has an error.
    OUT_POL_ERROR: counter = "node_xfrm_out_pol_error_packets_total";
    /// Packets to be forwarded that were refused.
    FWD_HDR_ERROR: counter = "node_xfrm_fwd_hdr_error_packets_total";
    /// Packets to be sent whose state was not valid.
    OUT_STATE_INVALID: counter = "node_xfrm_out_state_invalid_packets_total";
    /// Packets whose state was not acquired completely before they were used.
    ACQUIRE_ERROR: counter = "node_xfrm_acquire_error_packets_total";
}

/// The kernel's names of what is shown (net/xfrm/xfrm_proc.c), which are all up to Linux 6.9. What
/// came later is passed over.
const COUNTERS: [(&[u8], Family<0>); 28] = [
    (b"XfrmInError", IN_ERROR),
    (b"XfrmInBufferError", IN_BUFFER_ERROR),
    (b"XfrmInHdrError", IN_HDR_ERROR),
    (b"XfrmInNoStates", IN_NO_STATES),
    (b"XfrmInStateProtoError", IN_STATE_PROTO_ERROR),
    (b"XfrmInStateModeError", IN_STATE_MODE_ERROR),
    (b"XfrmInStateSeqError", IN_STATE_SEQ_ERROR),
    (b"XfrmInStateExpired", IN_STATE_EXPIRED),
    (b"XfrmInStateMismatch", IN_STATE_MISMATCH),
    (b"XfrmInStateInvalid", IN_STATE_INVALID),
    (b"XfrmInTmplMismatch", IN_TMPL_MISMATCH),
    (b"XfrmInNoPols", IN_NO_POLS),
    (b"XfrmInPolBlock", IN_POL_BLOCK),
    (b"XfrmInPolError", IN_POL_ERROR),
    (b"XfrmOutError", OUT_ERROR),
    (b"XfrmOutBundleGenError", OUT_BUNDLE_GEN_ERROR),
    (b"XfrmOutBundleCheckError", OUT_BUNDLE_CHECK_ERROR),
    (b"XfrmOutNoStates", OUT_NO_STATES),
    (b"XfrmOutStateProtoError", OUT_STATE_PROTO_ERROR),
    (b"XfrmOutStateModeError", OUT_STATE_MODE_ERROR),
    (b"XfrmOutStateSeqError", OUT_STATE_SEQ_ERROR),
    (b"XfrmOutStateExpired", OUT_STATE_EXPIRED),
    (b"XfrmOutPolBlock", OUT_POL_BLOCK),
    (b"XfrmOutPolDead", OUT_POL_DEAD),
    (b"XfrmOutPolError", OUT_POL_ERROR),
    (b"XfrmFwdHdrError", FWD_HDR_ERROR),
    (b"XfrmOutStateInvalid", OUT_STATE_INVALID),
    (b"XfrmAcquireError", ACQUIRE_ERROR),
];

register_collector!(Xfrm);

struct Xfrm {
    file: KeptFile,
}

impl Collector for Xfrm {
    about! {
        name: "xfrm",
        summary: "Packets that IPsec refused",
        families: FAMILIES,
        sources: ["proc/net/xfrm_stat"],
    }
    const ENABLED: bool = false;
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Xfrm { file: host.keep_whole("proc/net/xfrm_stat") })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let text = self.file.read()?;
        let mut counts = [None; COUNTERS.len()];
        let mut lines = lines(text);
        while let Some(line) = lines.next() {
            let mut fields = Fields::new(line);
            let name = fields.next().unwrap_or_default();
            let known = COUNTERS.iter().position(|(known, _)| *known == name);
            if let Some(count) = known.and_then(|known| counts.get_mut(known)) {
                let parsed = fields.u64().map_err(|wrong| wrong.moved_by(lines.offset()));
                *count = batch.tolerate(parsed);
            }
        }
        // node_exporter shows a zero for what an older kernel does not count.
        for ((_, family), count) in COUNTERS.iter().zip(counts) {
            batch.value(family, count.unwrap_or(0));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/net/xfrm_stat";

    /// As Linux 6.18 writes it, some counts of which no older kernel has.
    fn text() -> String {
        let known = COUNTERS.iter().map(|(name, _)| String::from_utf8_lossy(name));
        let new = ["XfrmOutStateDirError", "XfrmInStateDirError", "XfrmInIptfsError"];
        let names = known.chain(new.into_iter().map(Into::into));
        names.enumerate().map(|(count, name)| format!("{name:<24}\t{count}\n")).collect()
    }

    #[test]
    fn golden() {
        let memory = MemoryHost::from_files(&[(PATH, &text())]);
        let (batch, outcome) = run(&mut open::<Xfrm>(&memory.host(), &[]), None);
        outcome.unwrap();
        let shown: Vec<f64> = batch.samples().map(|(_, value)| value).collect();
        assert_eq!(shown, (0..28).map(f64::from).collect::<Vec<_>>());
        let page = render(&batch);
        assert!(page.contains("node_xfrm_in_tmpl_mismatch_packets_total 10\n"), "{page}");
        assert!(page.contains("node_xfrm_acquire_error_packets_total 27\n"), "{page}");
    }

    /// Before Linux 5.11 the last count was not there, which node_exporter shows as zero.
    #[test]
    fn what_an_old_kernel_does_not_count_is_zero() {
        let memory = MemoryHost::from_files(&[(PATH, "XfrmInError 7\nXfrmInHdrError x\n")]);
        let (batch, outcome) = run(&mut open::<Xfrm>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.samples().map(|(_, value)| value).sum::<f64>(), 7.0);
        assert_eq!(batch.len(), 28);
        assert_eq!(batch.malformed(), Some((1, Malformed::new(29, "a number"))));
    }

    /// The kernel was built without CONFIG_XFRM_STATISTICS.
    #[test]
    fn absent_is_an_error() {
        check_fails::<Xfrm>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/net/xfrm_stat: not on this host"],
            &expect![""],
        );
    }
}
