//! The report for people.

use super::Report;
use crate::run_args::Thp;
use crate::size;
use std::fmt::Write;
use vellum::ops::{FaultKind, HugePages};
use vellum_lab::latency::Histogram;
use vellum_lab::outcome::{Outcome, Tally};

/// Bars are so many characters long at most.
const BAR: u64 = 40;

/// The report, as lines.
pub fn render(report: &Report<'_>) -> String {
    let mut lines = Lines(String::new());
    lines.head(report);
    lines.verdict(report);
    lines.faults(report);
    lines.resident(report);
    lines.memory(report);
    lines.pressure(report);
    lines.tlb(report);
    lines.counters(report);
    lines.calls(report);
    report.notes().for_each(|note| lines.row("note", note));
    lines.0
}

/// The kinds of fault with a name each, and how long they took.
pub fn faults(outcome: &Outcome) -> impl Iterator<Item = (&'static str, &Histogram)> {
    const KINDS: [(FaultKind, &str); 7] = [
        (FaultKind::Anonymous, "anonymous"),
        (FaultKind::Zero, "zero"),
        (FaultKind::Copied, "copied"),
        (FaultKind::Reused, "reused"),
        (FaultKind::File, "file"),
        (FaultKind::Swapped, "swapped"),
        (FaultKind::Spurious, "spurious"),
    ];
    let find = |wanted| outcome.latency.iter().find(move |(kind, _)| *kind == wanted);
    KINDS.into_iter().filter_map(move |(kind, name)| find(kind).map(|(_, histogram)| (name, histogram)))
}

/// A number with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The machine's memory, and what there was against its shortage.
fn memory(report: &Report<'_>) -> String {
    let pressure = report.pressure;
    let mut text = size::show(report.memory_bytes);
    let mut add = |more: String| text.push_str(&more);
    if pressure.nodes > 1 {
        add(format!(" on {} nodes", pressure.nodes));
    }
    if pressure.swap_bytes > 0 {
        add(format!(", {} of swap", size::show(pressure.swap_bytes)));
    }
    if pressure.zswap_bytes > 0 {
        add(format!(", {} for compressed pages", size::show(pressure.zswap_bytes)));
    }
    if !pressure.is_batched {
        add(", no batches".into());
    }
    if pressure.huge_pages != HugePages::Advised {
        add(format!(", huge pages {}", Thp::name(pressure.huge_pages)));
    }
    text
}

/// A duration.
fn duration(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.1} µs", nanoseconds as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", nanoseconds as f64 / 1e6),
        _ => format!("{:.1} s", nanoseconds as f64 / 1e9),
    }
}

/// A bar for `part` of `whole`; never empty for something.
fn bar(part: u64, whole: u64) -> String {
    let length = (u128::from(part) * u128::from(BAR) / u128::from(whole.max(1))) as usize;
    if length == 0 { "▏".into() } else { "█".repeat(length) }
}

/// A line of small columns, the highest for `highest`.
fn columns(values: impl Iterator<Item = u64>, highest: u64) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    values.map(|value| STEPS[(u128::from(value) * 7 / u128::from(highest.max(1))).min(7) as usize]).collect()
}

struct Lines(String);

impl Lines {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn row(&mut self, name: &str, text: &str) {
        self.line(format_args!("{name:<9} {text}"));
    }

    fn head(&mut self, report: &Report<'_>) {
        let outcome = report.outcome;
        let seconds = outcome.elapsed.as_secs_f64();
        let rate = outcome.accesses as f64 / seconds.max(1e-9) / 1e6;
        let (accesses, pages) = (count(outcome.accesses), count(outcome.pages_touched));
        self.line(format_args!("{}: {accesses} accesses to {pages} pages", report.workload));
        let cpus = if report.cpus == 1 { "1 CPU".into() } else { format!("{} CPUs", report.cpus) };
        let memory = memory(report);
        self.line(format_args!("on {}, {cpus}, {memory}; {seconds:.2} s, {rate:.1} million/s", report.arch));
        self.line(format_args!(""));
    }

    fn verdict(&mut self, report: &Report<'_>) {
        let oracle = &report.outcome.oracle;
        let (checked, after) = (count(oracle.loads_checked), count(oracle.loads_after_store));
        let found = match oracle.violations {
            0 => "no violation".to_string(),
            1 => "1 VIOLATION".to_string(),
            many => format!("{} VIOLATIONS", count(many)),
        };
        self.row("oracle", &format!("{checked} loads checked, {after} of them after a store: {found}"));
        oracle.first.iter().for_each(|violation| self.row("", violation));
        self.row("audit", report.audit());
    }

    fn faults(&mut self, report: &Report<'_>) {
        let total: u64 = faults(report.outcome).map(|(_, histogram)| histogram.count()).sum();
        self.row("faults", &format!("{} of accesses", count(total)));
        for (name, histogram) in faults(report.outcome) {
            let [mean, middle, high, longest] =
                [histogram.mean_ns(), histogram.percentile_ns(50), histogram.percentile_ns(99), histogram.longest_ns()]
                    .map(duration);
            let times = format!("mean {mean}, 50 % within {middle}, 99 % within {high}, longest {longest}");
            self.line(format_args!("  {name:<10} {:>9}   {times}", count(histogram.count())));
            let most = histogram.buckets().map(|(_, count)| count).max().unwrap_or(0);
            for (shortest, number) in histogram.buckets() {
                let from = duration(shortest);
                self.line(format_args!("    {from:>9}+ {:>9} {}", count(number), bar(number, most)));
            }
        }
    }

    fn resident(&mut self, report: &Report<'_>) {
        let points = report.outcome.resident.points();
        let highest = points.iter().map(|(_, pages)| *pages).max().unwrap_or(0);
        let line = columns(points.iter().map(|(_, pages)| *pages), highest);
        self.row("resident", &format!("{line} at most {}", size::show(highest * report.page_bytes)));
    }

    fn memory(&mut self, report: &Report<'_>) {
        let peaks = &report.outcome.peaks;
        let (used, frames) = (count(peaks.frames_used_max), count(peaks.frames));
        let metadata = size::show(peaks.metadata_bytes);
        self.row("memory", &format!("{used} of {frames} frames used at most; {metadata} of descriptors and objects"));
        let usage = peaks.usage;
        let uses = [
            ("anonymous", usage.anonymous),
            ("file", usage.file),
            ("tables", usage.tables),
            ("slab", usage.slab),
            ("reserved", usage.reserved),
        ];
        let uses: Vec<String> = uses.iter().map(|(name, frames)| format!("{} {name}", count(*frames))).collect();
        self.row("", &format!("{}; {} page tables at most", uses.join(", "), count(peaks.table_pages_max)));
        self.huge(report);
    }

    /// Which sizes anonymous memory has, and what became of huge pages, if there were any.
    fn huge(&mut self, report: &Report<'_>) {
        let [mapped, refused, made, not_made] = report.huge_pages_made();
        if mapped + refused + made + not_made == 0 {
            return;
        }
        let usage = report.outcome.peaks.usage;
        let [huge, small] = [usage.anonymous_huge, usage.anonymous - usage.anonymous_huge]
            .map(|frames| size::show(frames * report.page_bytes));
        self.row("huge", &format!("{huge} of anonymous memory in huge pages, {small} in small ones"));
        let [mapped, refused] = [mapped, refused].map(count);
        self.row("", &format!("{mapped} came with faults, {refused} were not to be had"));
        if made + not_made > 0 {
            let [made, not_made] = [made, not_made].map(count);
            self.row("", &format!("{made} were made of small pages, {not_made} were not to be had for that"));
        }
        let shared = ["thp_file_alloc", "thp_file_mapped", "thp_file_fallback"].map(|name| report.counter(name));
        if shared.iter().any(|&number| number > 0) {
            let [made, shown, refused] = shared.map(count);
            self.row("", &format!("{made} of shared memory, shown whole {shown} times, {refused} were not to be had"));
        }
        let [cut, split] = ["thp_split_pmd", "thp_split_page"].map(|name| count(report.counter(name)));
        self.row("", &format!("{cut} mapped as small pages since, {split} split into them"));
        let [whole, parts] = ["thp_swpout", "thp_swpout_fallback"].map(|name| report.counter(name));
        if whole + parts > 0 {
            self.row("", &format!("{} put out to swap as wholes, {} not", count(whole), count(parts)));
        }
    }

    /// What the shortage of memory led to, if there was one.
    fn pressure(&mut self, report: &Report<'_>) {
        let [reclaimed, swapped_in, swapped_out, refaults, working_set] =
            [report.reclaimed(), report.swapped_in(), report.swapped_out(), report.refaults(), report.working_set()]
                .map(count);
        if report.reclaimed() > 0 {
            let [background, direct] = ["pageoutrun", "allocstall"].map(|name| count(report.counter(name)));
            self.row("reclaim", &format!("{reclaimed} pages; {background} times in the background, {direct} direct"));
            self.row("", &format!("{refaults} came back, {working_set} so soon that they are the working set"));
        }
        if report.swapped_out() > 0 {
            self.row("swap", &format!("{swapped_out} pages out, {swapped_in} in"));
        }
        let [moved, stayed] = ["pgmigrate_success", "pgmigrate_fail"].map(|name| report.counter(name));
        if moved + stayed > 0 {
            self.row("migration", &format!("{} pages moved, {} could not be", count(moved), count(stayed)));
        }
        let [walks, looks] = ["rmap_walks", "rmap_looks"].map(|name| report.counter(name));
        if walks > 0 {
            let mean = looks as f64 / walks as f64;
            self.row("rmap", &format!("{} walks, {mean:.1} places looked at in the mean", count(walks)));
        }
        if report.outcome.tag_traps > 0 {
            let traps = count(report.outcome.tag_traps);
            self.row("tags", &format!("{traps} accesses with a wrong tag, all of them refused"));
        }
    }

    fn tlb(&mut self, report: &Report<'_>) {
        let processors = &report.outcome.processors;
        let misses = match processors.mmu.huge_misses {
            0 => format!("{} misses", count(processors.mmu.misses)),
            huge => format!("{} misses ({} of huge pages)", count(processors.mmu.misses), count(huge)),
        };
        let [flushes, batches, sent, received] = [
            report.flushes(),
            report.counter("nr_tlb_flush_batch"),
            processors.interrupts_sent,
            processors.interrupts_received,
        ]
        .map(count);
        self.row("tlb", &format!("{misses}; {flushes} flushes, {batches} batches"));
        self.row("", &format!("{sent} interrupts sent, {received} received"));
    }

    fn counters(&mut self, report: &Report<'_>) {
        let counters: Vec<_> = report.outcome.counters.iter().filter(|(_, count)| *count > 0).collect();
        self.row("counters", "");
        for pair in counters.chunks(2) {
            let cells: Vec<String> =
                pair.iter().map(|(name, number)| format!("{name:<28} {:>12}", count(*number))).collect();
            self.line(format_args!("  {}", cells.join("   ")));
        }
    }

    fn calls(&mut self, report: &Report<'_>) {
        let outcome = report.outcome;
        if outcome.implicit_pages + outcome.segv + outcome.bus > 0 {
            let [implicit, segv, bus] = [outcome.implicit_pages, outcome.segv, outcome.bus].map(count);
            self.row("pages", &format!("{implicit} implicit (mapped before the log began)"));
            self.row("signals", &format!("{segv} SIGSEGV, {bus} SIGBUS"));
        }
        self.tally("ignored", &outcome.ignored_calls);
        self.tally("refused", &outcome.refused_calls);
    }

    fn tally(&mut self, name: &str, tally: &Tally) {
        if tally.total() > 0 {
            let calls: Vec<String> = tally.iter().map(|(call, number)| format!("{call} {}", count(number))).collect();
            self.row(name, &format!("{} calls: {}", count(tally.total()), calls.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 27_953_366].map(count), ["0", "999", "1,000", "27,953,366"]);
    }

    #[test]
    fn plots_stay_inside_their_scale() {
        assert_eq!(columns([0, 4, 8].into_iter(), 8), "▁▄█");
        assert_eq!(columns([0].into_iter(), 0), "▁");
        assert_eq!(bar(1, 1000), "▏");
        assert_eq!(bar(5, 5).chars().count() as u64, BAR);
    }
}
