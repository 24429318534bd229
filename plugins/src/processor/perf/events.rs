//! The events that are counted, by node_exporter's words (perf_event_open(2), linux/perf_event.h).

use vitald_core::host::PerfEvent;
use vitald_core::prelude::*;

families! {
    /// Cycles of a CPU, at the speed that it has.
    CYCLES: counter = "node_perf_cpucycles_total" [cpu];
    /// Instructions of a CPU that were carried out.
    INSTRUCTIONS: counter = "node_perf_instructions_total" [cpu];
    /// Times that a CPU asked a cache, mostly the last one.
    CACHE_REFERENCES: counter = "node_perf_cache_refs_total" [cpu];
    /// Times that a cache did not have what a CPU asked for.
    CACHE_MISSES: counter = "node_perf_cache_misses_total" [cpu];
    /// Branches of a CPU that were carried out.
    BRANCHES: counter = "node_perf_branch_instructions_total" [cpu];
    /// Branches that a CPU predicted wrong.
    BRANCH_MISSES: counter = "node_perf_branch_misses_total" [cpu];
    /// Cycles in which a CPU waited for what carries instructions out.
    STALLED_BACKEND: counter = "node_perf_stalled_cycles_backend_total" [cpu];
    /// Cycles in which a CPU waited for instructions.
    STALLED_FRONTEND: counter = "node_perf_stalled_cycles_frontend_total" [cpu];
    /// Cycles of a CPU at its nominal speed.
    REFERENCE_CYCLES: counter = "node_perf_ref_cpucycles_total" [cpu];

    /// Times that a page was not there when it was used.
    PAGE_FAULTS: counter = "node_perf_page_faults_total" [cpu];
    /// Times that a CPU went from one task to another.
    CONTEXT_SWITCHES: counter = "node_perf_context_switches_total" [cpu];
    /// Times that a task came to a CPU from another one.
    MIGRATIONS: counter = "node_perf_cpu_migrations_total" [cpu];
    /// Page faults that needed no storage.
    MINOR_FAULTS: counter = "node_perf_minor_faults_total" [cpu];
    /// Page faults that had to wait for storage.
    MAJOR_FAULTS: counter = "node_perf_major_faults_total" [cpu];

    /// Reads of the first cache for data.
    L1D_READS: counter = "node_perf_cache_l1d_read_hits_total" [cpu];
    /// Reads that the first cache for data could not answer.
    L1D_READ_MISSES: counter = "node_perf_cache_l1d_read_misses_total" [cpu];
    /// Writes to the first cache for data.
    L1D_WRITES: counter = "node_perf_cache_l1d_write_hits_total" [cpu];
    /// Reads that the first cache for instructions could not answer.
    L1I_READ_MISSES: counter = "node_perf_cache_l1_instr_read_misses_total" [cpu];
    /// Addresses of instructions that were looked up.
    ITLB_READS: counter = "node_perf_cache_tlb_instr_read_hits_total" [cpu];
    /// Addresses of instructions that were not in the buffer of translations.
    ITLB_READ_MISSES: counter = "node_perf_cache_tlb_instr_read_misses_total" [cpu];
    /// Addresses of data that were looked up for a read.
    DTLB_READS: counter = "node_perf_cache_tlb_data_read_hits_total" [cpu];
    /// Addresses of data that were not in the buffer of translations at a read.
    DTLB_READ_MISSES: counter = "node_perf_cache_tlb_data_read_misses_total" [cpu];
    /// Addresses of data that were looked up for a write.
    DTLB_WRITES: counter = "node_perf_cache_tlb_data_write_hits_total" [cpu];
    /// Addresses of data that were not in the buffer of translations at a write.
    DTLB_WRITE_MISSES: counter = "node_perf_cache_tlb_data_write_misses_total" [cpu];
    /// Reads of the last cache.
    LAST_READS: counter = "node_perf_cache_ll_read_hits_total" [cpu];
    /// Reads that the last cache could not answer.
    LAST_READ_MISSES: counter = "node_perf_cache_ll_read_misses_total" [cpu];
    /// Writes to the last cache.
    LAST_WRITES: counter = "node_perf_cache_ll_write_hits_total" [cpu];
    /// Writes that found no place in the last cache.
    LAST_WRITE_MISSES: counter = "node_perf_cache_ll_write_misses_total" [cpu];
    /// Reads of the unit that predicts branches.
    PREDICTIONS: counter = "node_perf_cache_bpu_read_hits_total" [cpu];
    /// Reads that the unit which predicts branches could not answer.
    PREDICTION_MISSES: counter = "node_perf_cache_bpu_read_misses_total" [cpu];
}

pub(super) const ALL_FAMILIES: &[FamilyInfo] = FAMILIES;

/// What is counted under a word, and shown as what.
pub(super) struct Event {
    pub(super) word: &'static str,
    pub(super) event: PerfEvent,
    pub(super) family: &'static vitald_core::family::Family<1>,
}

const fn event(
    word: &'static str,
    kind: u32,
    config: u64,
    family: &'static vitald_core::family::Family<1>,
) -> Event {
    Event { word, event: PerfEvent { kind, config }, family }
}

pub(super) const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_TYPE_HARDWARE: u32 = 0;
const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_TYPE_HW_CACHE: u32 = 3;

pub(super) const HARDWARE: &[Event] = &[
    event("CpuCycles", PERF_TYPE_HARDWARE, 0, &CYCLES),
    event("CpuInstr", PERF_TYPE_HARDWARE, 1, &INSTRUCTIONS),
    event("CacheRef", PERF_TYPE_HARDWARE, 2, &CACHE_REFERENCES),
    event("CacheMisses", PERF_TYPE_HARDWARE, 3, &CACHE_MISSES),
    event("BranchInstr", PERF_TYPE_HARDWARE, 4, &BRANCHES),
    event("BranchMisses", PERF_TYPE_HARDWARE, 5, &BRANCH_MISSES),
    event("StalledCyclesBackend", PERF_TYPE_HARDWARE, 8, &STALLED_BACKEND),
    event("StalledCyclesFrontend", PERF_TYPE_HARDWARE, 7, &STALLED_FRONTEND),
    event("RefCpuCycles", PERF_TYPE_HARDWARE, 9, &REFERENCE_CYCLES),
];

pub(super) const SOFTWARE: &[Event] = &[
    event("PageFault", PERF_TYPE_SOFTWARE, 2, &PAGE_FAULTS),
    event("ContextSwitch", PERF_TYPE_SOFTWARE, 3, &CONTEXT_SWITCHES),
    event("CpuMigration", PERF_TYPE_SOFTWARE, 4, &MIGRATIONS),
    event("MinorFault", PERF_TYPE_SOFTWARE, 5, &MINOR_FAULTS),
    event("MajorFault", PERF_TYPE_SOFTWARE, 6, &MAJOR_FAULTS),
];

const L1D: u64 = 0;
const L1I: u64 = 1;
const LAST_LEVEL: u64 = 2;
const DTLB: u64 = 3;
const ITLB: u64 = 4;
const BRANCH_PREDICTION: u64 = 5;
const READ: u64 = 0;
const WRITE: u64 = 1 << 8;
const ACCESS: u64 = 0;
const MISS: u64 = 1 << 16;

pub(super) const CACHE: &[Event] = &[
    event("L1DataReadHit", PERF_TYPE_HW_CACHE, L1D | READ | ACCESS, &L1D_READS),
    event("L1DataReadMiss", PERF_TYPE_HW_CACHE, L1D | READ | MISS, &L1D_READ_MISSES),
    event("L1DataWriteHit", PERF_TYPE_HW_CACHE, L1D | WRITE | ACCESS, &L1D_WRITES),
    event("L1InstrReadMiss", PERF_TYPE_HW_CACHE, L1I | READ | MISS, &L1I_READ_MISSES),
    event("LLReadHit", PERF_TYPE_HW_CACHE, LAST_LEVEL | READ | ACCESS, &LAST_READS),
    event("LLReadMiss", PERF_TYPE_HW_CACHE, LAST_LEVEL | READ | MISS, &LAST_READ_MISSES),
    event("LLWriteHit", PERF_TYPE_HW_CACHE, LAST_LEVEL | WRITE | ACCESS, &LAST_WRITES),
    event("LLWriteMiss", PERF_TYPE_HW_CACHE, LAST_LEVEL | WRITE | MISS, &LAST_WRITE_MISSES),
    event("InstrTLBReadHit", PERF_TYPE_HW_CACHE, ITLB | READ | ACCESS, &ITLB_READS),
    event("InstrTLBReadMiss", PERF_TYPE_HW_CACHE, ITLB | READ | MISS, &ITLB_READ_MISSES),
    event("BPUReadHit", PERF_TYPE_HW_CACHE, BRANCH_PREDICTION | READ | ACCESS, &PREDICTIONS),
    event("BPUReadMiss", PERF_TYPE_HW_CACHE, BRANCH_PREDICTION | READ | MISS, &PREDICTION_MISSES),
    event("DataTLBReadHit", PERF_TYPE_HW_CACHE, DTLB | READ | ACCESS, &DTLB_READS),
    event("DataTLBReadMiss", PERF_TYPE_HW_CACHE, DTLB | READ | MISS, &DTLB_READ_MISSES),
    event("DataTLBWriteHit", PERF_TYPE_HW_CACHE, DTLB | WRITE | ACCESS, &DTLB_WRITES),
    event("DataTLBWriteMiss", PERF_TYPE_HW_CACHE, DTLB | WRITE | MISS, &DTLB_WRITE_MISSES),
];

/// The events of these words, in the order of the table; all of them without a word.
///
/// # Errors
///
/// All words, for one that is not among them.
pub(super) fn chosen(
    words: &[String],
    table: &'static [Event],
) -> Result<impl Iterator<Item = &'static Event>, String> {
    if let Some(unknown) = words.iter().find(|word| !table.iter().any(|event| event.word == **word))
    {
        let known: Vec<&str> = table.iter().map(|event| event.word).collect();
        return Err(format!("{unknown:?} is not among {}", known.join(", ")));
    }
    let words = words.to_vec();
    let is_chosen =
        move |event: &&Event| words.is_empty() || words.iter().any(|word| word == event.word);
    Ok(table.iter().filter(is_chosen))
}
