//! What was found, for people.

use super::Report;
use std::fmt::Write;
use vellum_conform::op::Call;
use vellum_conform::{DIFFERENCES, Stop};

/// The whole report.
pub fn report(report: &Report) -> String {
    let Report { stats, seed, time, .. } = report;
    let mut text = String::new();
    let (sequences, operations, seconds) = (stats.sequences, stats.operations(), time.as_secs_f64());
    _ = writeln!(text, "{sequences} sequences from seed {seed}: {operations} operations in {seconds:.1} s");
    _ = writeln!(
        text,
        "compared: {} loads, {} pages mapped, the contents of {}",
        stats.loads(),
        stats.pages,
        stats.sums
    );
    let (pressed, pages, (out, back)) = (stats.pressed_sequences, stats.pressed, stats.swapped);
    _ = writeln!(
        text,
        "{pressed} sequences under pressure: {pages} pages were freed or moved meanwhile, {out} went to swap, \
         {back} came back"
    );
    let (large, (huge, split)) = (stats.large_sequences, stats.huge);
    _ = writeln!(text, "{large} sequences of large mappings: {huge} huge pages were mapped, {split} became small ones");
    text += &calls(report);
    text += &meant(report);
    if !report.has_heap {
        text += "note: this Linux does not let a process place its heap, so brk was left out\n";
    }
    if !report.has_guards {
        text += "note: this Linux does not have guards in all mappings, so MADV_GUARD_INSTALL was left out\n";
    }
    if let Some(Stop::Found(found)) = &report.stop {
        _ = writeln!(text, "\n{found}");
    }
    text
}

fn calls(report: &Report) -> String {
    let mut text = format!("\n{:<12}{:>12}{:>14}\n", "", "succeeded", "failed alike");
    for (index, kind) in Call::KINDS.iter().enumerate() {
        let (succeeded, failed) = (report.stats.succeeded[index], report.stats.failed[index]);
        _ = writeln!(text, "{kind:<12}{succeeded:>12}{failed:>14}");
    }
    text
}

fn meant(report: &Report) -> String {
    let rows = DIFFERENCES.iter().zip(report.stats.meant).filter(|(_, count)| *count > 0);
    rows.map(|(difference, count)| {
        format!("{count} sequences ended at a difference that is meant: {}\n", difference.id)
    })
    .collect()
}

/// The table of differences that are meant.
pub fn differences() -> String {
    let mut text = String::from("Where Vellum differs from Linux knowingly:\n");
    for difference in &DIFFERENCES {
        _ = write!(
            text,
            "\n{}\n  Linux   {}\n  Vellum  {}\n  why     {}\n",
            difference.id, difference.linux, difference.vellum, difference.reason
        );
        if !difference.is_met() {
            text += "  not met in sequences\n";
        }
        if let Some((major, minor)) = difference.until {
            _ = writeln!(text, "  where   Linux before {major}.{minor}");
        }
    }
    text
}
