//! What was found, for programs.

use super::Report;
use serde::Serialize;
use std::collections::BTreeMap;
use vellum_conform::op::Call;
use vellum_conform::{DIFFERENCES, Difference, Found, Stop};

#[derive(Serialize)]
struct Document {
    seed: u64,
    seconds: f64,
    sequences: u64,
    sequences_under_pressure: u64,
    /// Of mappings so large that huge pages fit.
    sequences_of_large_mappings: u64,
    operations: u64,
    loads: u64,
    /// Pages whose mapping was compared, and pages whose contents were.
    pages_mapped: u64,
    pages_of_contents: u64,
    /// Pages of Vellum's memory that were freed or moved meanwhile.
    pages_pressed: u64,
    pages_to_swap: u64,
    pages_from_swap: u64,
    huge_pages_mapped: u64,
    huge_pages_split: u64,
    has_heap: bool,
    has_guards: bool,
    calls: BTreeMap<&'static str, Calls>,
    /// Sequences that ended at each difference that is meant.
    meant: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Sequence>,
}

#[derive(Serialize)]
struct Calls {
    succeeded: u64,
    failed: u64,
}

#[derive(Serialize)]
struct Sequence {
    seed: u64,
    wrong: String,
    /// Whether it differed when it was run again.
    is_repeatable: bool,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    process: usize,
    call: String,
    linux: String,
    vellum: Option<String>,
    under_pressure: bool,
}

#[derive(Serialize)]
struct Row {
    id: &'static str,
    linux: &'static str,
    vellum: &'static str,
    reason: &'static str,
    /// Whether sequences may meet it.
    is_met: bool,
    /// The version of Linux from which on there is no difference any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

/// The report, with a line end.
pub fn report(report: &Report) -> String {
    let Report { stats, stop, seed, has_heap, has_guards, time } = report;
    let calls = (0..Call::KINDS.len())
        .map(|kind| (Call::KINDS[kind], Calls { succeeded: stats.succeeded[kind], failed: stats.failed[kind] }));
    document(&Document {
        seed: *seed,
        seconds: time.as_secs_f64(),
        sequences: stats.sequences,
        sequences_under_pressure: stats.pressed_sequences,
        sequences_of_large_mappings: stats.large_sequences,
        operations: stats.operations(),
        loads: stats.loads(),
        pages_mapped: stats.pages,
        pages_of_contents: stats.sums,
        pages_pressed: stats.pressed,
        pages_to_swap: stats.swapped.0,
        pages_from_swap: stats.swapped.1,
        huge_pages_mapped: stats.huge.0,
        huge_pages_split: stats.huge.1,
        has_heap: *has_heap,
        has_guards: *has_guards,
        calls: calls.collect(),
        meant: DIFFERENCES.iter().zip(stats.meant).map(|(difference, count)| (difference.id, count)).collect(),
        found: match stop {
            Some(Stop::Found(found)) => Some(sequence(found)),
            _ => None,
        },
    })
}

fn sequence(found: &Found) -> Sequence {
    let steps = found.disagreement.steps.iter().map(|step| Step {
        process: step.process,
        call: step.call.to_string(),
        linux: step.linux.to_string(),
        vellum: step.ours.map(|ours| ours.to_string()),
        under_pressure: found.ops.get(step.op).is_some_and(|op| op.pressure != 0),
    });
    let (seed, is_repeatable, wrong) = (found.seed, found.is_repeatable, found.disagreement.wrong.clone());
    Sequence { seed, wrong, is_repeatable, steps: steps.collect() }
}

/// The table of differences that are meant, with a line end.
pub fn differences() -> String {
    let row = |difference: &Difference| {
        let Difference { id, linux, vellum, reason, until, .. } = *difference;
        let until = until.map(|(major, minor)| format!("{major}.{minor}"));
        Row { id, linux, vellum, reason, is_met: difference.is_met(), until }
    };
    document(&DIFFERENCES.iter().map(row).collect::<Vec<_>>())
}

fn document(value: &impl Serialize) -> String {
    match serde_json::to_string_pretty(value) {
        Ok(text) => text + "\n",
        Err(error) => unreachable!("names and numbers always have a JSON form: {error}"),
    }
}
