//! The report that ends a run.

pub mod json;
pub mod text;

use vellum_lab::outcome::Outcome;
use vellum_lab::pressure::Pressure;

/// What was run, on what, and what came of it.
pub struct Report<'a> {
    /// The workload's name, or the trace's.
    pub workload: &'a str,
    pub arch: &'a str,
    /// Bytes of a page of that architecture.
    pub page_bytes: u64,
    pub cpus: usize,
    pub memory_bytes: u64,
    pub pressure: &'a Pressure,
    /// Whether a trace was replayed.
    pub is_trace: bool,
    pub outcome: &'a Outcome,
}

/// What is true of every replay.
const NOT_MODELLED: &str = "what the kernel writes into buffers (read, recv, …) is not in a trace, and not modelled";

impl Report<'_> {
    fn counter(&self, name: &str) -> u64 {
        self.outcome.counters.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }

    /// Every translation dropped on any CPU: single pages and whole address spaces.
    fn flushes(&self) -> u64 {
        self.counter("nr_tlb_local_flush_all") + self.counter("nr_tlb_local_flush_one")
    }

    /// Pages taken back: of files, and anonymous ones.
    fn reclaimed(&self) -> u64 {
        self.counter("pgsteal_file") + self.counter("pgsteal_anon")
    }

    /// Pages read from swap, the compressed tier included.
    fn swapped_in(&self) -> u64 {
        self.counter("pswpin") + self.counter("zswpin")
    }

    /// Pages written to swap, the compressed tier included.
    fn swapped_out(&self) -> u64 {
        self.counter("pswpout") + self.counter("zswpout")
    }

    /// Pages that came back after they were taken.
    fn refaults(&self) -> u64 {
        self.counter("workingset_refault_file") + self.counter("workingset_refault_anon")
    }

    /// Those of them that came back so soon that they belong to what is in use.
    fn working_set(&self) -> u64 {
        self.counter("workingset_activate_file") + self.counter("workingset_activate_anon")
    }

    /// Huge pages that came with faults, and how many more were wanted; those that were made of small pages, and how
    /// many more would have been, if there had been any free.
    fn huge_pages_made(&self) -> [u64; 4] {
        ["thp_fault_alloc", "thp_fault_fallback", "thp_collapse", "thp_collapse_alloc_failed"]
            .map(|name| self.counter(name))
    }

    fn notes(&self) -> impl Iterator<Item = &str> {
        let note = self.is_trace.then_some(NOT_MODELLED);
        self.outcome.warnings.iter().map(String::as_str).chain(note)
    }

    fn audit(&self) -> &str {
        match &self.outcome.audit {
            None => "not made",
            Some(Ok(())) => "clean",
            Some(Err(why)) => why,
        }
    }
}
