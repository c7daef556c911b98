//! The report as one JSON document.

use super::Report;
use crate::run_args::Thp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use vellum_lab::latency::Histogram;
use vellum_lab::outcome::Tally;

/// The document, with a line end.
pub fn render(report: &Report<'_>) -> String {
    let document = Document::new(report);
    match serde_json::to_string_pretty(&document) {
        Ok(text) => text + "\n",
        Err(error) => unreachable!("names and numbers always have a JSON form: {error}"),
    }
}

/// A JSON object of names and values, in their order.
struct Pairs<'a, V>(Vec<(&'a str, V)>);

impl<V: Serialize> Serialize for Pairs<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Document<'a> {
    workload: &'a str,
    arch: &'a str,
    cpus: usize,
    seconds: f64,
    accesses: u64,
    pages_touched: u64,
    counters: Pairs<'a, u64>,
    tlb: Tlb,
    work: Pairs<'a, u64>,
    memory: Memory,
    huge_pages: HugePages,
    nodes: u8,
    settings: Settings,
    oracle: Oracle<'a>,
    audit: &'a str,
    implicit_pages: u64,
    sigsegv: u64,
    sigbus: u64,
    tag_traps: u64,
    ignored_calls: Pairs<'a, u64>,
    refused_calls: Pairs<'a, u64>,
    faults: Pairs<'a, u64>,
    /// By kind of fault.
    latency_ns: Pairs<'a, Latency>,
    rss: Vec<Sample>,
    warnings: Vec<&'a str>,
}

/// What there was against the shortage of memory.
#[derive(Serialize)]
struct Settings {
    memory_bytes: u64,
    swap_bytes: u64,
    zswap_bytes: u64,
    batch: bool,
    /// Which memory gets huge pages, as in Linux's setting.
    thp: &'static str,
}

#[derive(Serialize)]
struct Tlb {
    ipis_sent: u64,
    ipis_received: u64,
    flushes: u64,
    flush_batches: u64,
    misses: u64,
    /// Those of them that an entry for more than a page answered.
    huge_misses: u64,
}

#[derive(Serialize)]
struct Memory {
    frames: u64,
    frames_used_max: u64,
    table_pages_max: u64,
    metadata_bytes: u64,
    /// What the frames were used for when the fullest sample was taken.
    frames_by_use: FramesByUse,
}

#[derive(Serialize)]
struct FramesByUse {
    free: u64,
    anonymous: u64,
    /// Of the anonymous ones: parts of huge pages.
    anonymous_huge: u64,
    file: u64,
    tables: u64,
    slab: u64,
    reserved: u64,
}

/// What became of huge pages.
#[derive(Serialize)]
struct HugePages {
    /// Those that came with faults, and how many more were wanted and not to be had.
    faulted: u64,
    fault_fallbacks: u64,
    /// Those that were made of small pages, and how many more were not to be had for that.
    collapsed: u64,
    collapse_fallbacks: u64,
    /// Mappings of them that became such of small pages, and folios of several pages that became single ones.
    mappings_split: u64,
    folios_split: u64,
    /// Those that went to swap as wholes, and those that did not.
    swapped_out: u64,
    swap_out_fallbacks: u64,
}

#[derive(Serialize)]
struct Oracle<'a> {
    loads_checked: u64,
    loads_after_store: u64,
    violations: u64,
    first_violations: &'a [String],
}

#[derive(Serialize)]
struct Latency {
    count: u64,
    mean: u64,
    p50: u64,
    p99: u64,
    max: u64,
    /// Shortest duration of each bucket, and how many.
    buckets: Vec<(u64, u64)>,
}

#[derive(Serialize)]
struct Sample {
    accesses: u64,
    pages: u64,
}

impl<'a> Document<'a> {
    fn new(report: &'a Report<'_>) -> Self {
        let outcome = report.outcome;
        Document {
            workload: report.workload,
            arch: report.arch,
            cpus: report.cpus,
            seconds: outcome.elapsed.as_secs_f64(),
            accesses: outcome.accesses,
            pages_touched: outcome.pages_touched,
            counters: Pairs(outcome.counters.clone()),
            tlb: Tlb {
                ipis_sent: outcome.processors.interrupts_sent,
                ipis_received: outcome.processors.interrupts_received,
                flushes: report.flushes(),
                flush_batches: report.counter("nr_tlb_flush_batch"),
                misses: outcome.processors.mmu.misses,
                huge_misses: outcome.processors.mmu.huge_misses,
            },
            work: work(report),
            memory: Memory::new(report),
            huge_pages: HugePages::new(report),
            nodes: report.pressure.nodes,
            settings: Settings::new(report),
            oracle: Oracle {
                loads_checked: outcome.oracle.loads_checked,
                loads_after_store: outcome.oracle.loads_after_store,
                violations: outcome.oracle.violations,
                first_violations: &outcome.oracle.first,
            },
            audit: report.audit(),
            implicit_pages: outcome.implicit_pages,
            sigsegv: outcome.segv,
            sigbus: outcome.bus,
            tag_traps: outcome.tag_traps,
            ignored_calls: tally(&outcome.ignored_calls),
            refused_calls: tally(&outcome.refused_calls),
            faults: Pairs(super::text::faults(outcome).map(|(name, histogram)| (name, histogram.count())).collect()),
            latency_ns: Pairs(
                super::text::faults(outcome).map(|(name, histogram)| (name, Latency::new(histogram))).collect(),
            ),
            rss: outcome.resident.points().iter().map(|&(accesses, pages)| Sample { accesses, pages }).collect(),
            warnings: report.notes().collect(),
        }
    }
}

/// What memory management did with pages.
fn work(report: &Report<'_>) -> Pairs<'static, u64> {
    Pairs(vec![
        ("pages_reclaimed", report.reclaimed()),
        ("pages_migrated", report.counter("pgmigrate_success")),
        ("pages_swapped_in", report.swapped_in()),
        ("pages_swapped_out", report.swapped_out()),
        ("refaults", report.refaults()),
        ("working_set", report.working_set()),
        ("pages_unmapped", report.counter("pgunmap")),
        ("pages_forked", report.counter("pgfork")),
        ("pages_moved", report.counter("pgmove")),
        ("pages_read", report.counter("pgpgin")),
        ("pages_written", report.counter("pgpgout")),
    ])
}

fn tally(tally: &Tally) -> Pairs<'_, u64> {
    Pairs(tally.iter().collect())
}

impl Settings {
    fn new(report: &Report<'_>) -> Settings {
        let pressure = report.pressure;
        Settings {
            memory_bytes: report.memory_bytes,
            swap_bytes: pressure.swap_bytes,
            zswap_bytes: pressure.zswap_bytes,
            batch: pressure.is_batched,
            thp: Thp::name(pressure.huge_pages),
        }
    }
}

impl HugePages {
    fn new(report: &Report<'_>) -> HugePages {
        let [faulted, fault_fallbacks, collapsed, collapse_fallbacks] = report.huge_pages_made();
        HugePages {
            faulted,
            fault_fallbacks,
            collapsed,
            collapse_fallbacks,
            mappings_split: report.counter("thp_split_pmd"),
            folios_split: report.counter("thp_split_page"),
            swapped_out: report.counter("thp_swpout"),
            swap_out_fallbacks: report.counter("thp_swpout_fallback"),
        }
    }
}

impl Memory {
    fn new(report: &Report<'_>) -> Memory {
        let peaks = &report.outcome.peaks;
        let usage = peaks.usage;
        Memory {
            frames: peaks.frames,
            frames_used_max: peaks.frames_used_max,
            table_pages_max: peaks.table_pages_max,
            metadata_bytes: peaks.metadata_bytes,
            frames_by_use: FramesByUse {
                free: usage.free,
                anonymous: usage.anonymous,
                anonymous_huge: usage.anonymous_huge,
                file: usage.file,
                tables: usage.tables,
                slab: usage.slab,
                reserved: usage.reserved,
            },
        }
    }
}

impl Latency {
    fn new(histogram: &Histogram) -> Latency {
        Latency {
            count: histogram.count(),
            mean: histogram.mean_ns(),
            p50: histogram.percentile_ns(50),
            p99: histogram.percentile_ns(99),
            max: histogram.longest_ns(),
            buckets: histogram.buckets().collect(),
        }
    }
}
