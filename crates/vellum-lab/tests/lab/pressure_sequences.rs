//! Random sequences of operations on the core and on the reference model, with memory taken back, moved and given up
//! between and during them: 1,600 and a few in all, or as many as `VELLUM_SEQUENCES` says, or
//! `VELLUM_LONGER` times as many; from `VELLUM_SEED` on, if
//! that is set.

use crate::toys::Toy;
use std::time::Instant;
use vellum::arch::{Aarch64, Arch, X86_64};
use vellum_lab::model::Quirk;
use vellum_lab::model::sequence::run_seeds_under_pressure;

/// Sequences in all; each test runs its part.
const SEQUENCES: u64 = 1_600;
/// Tests that share them.
const PARTS: u64 = 4;

/// Sequences in all.
fn count() -> u64 {
    variable("VELLUM_SEQUENCES").unwrap_or_else(|| SEQUENCES * variable("VELLUM_LONGER").unwrap_or(1))
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Runs part `part` of the sequences on `A`.
fn compare<A: Arch>(part: u64, tags: bool) {
    let count = count().div_ceil(PARTS);
    let first = variable("VELLUM_SEED").unwrap_or(0) + (part << 40);
    let begun = Instant::now();
    match run_seeds_under_pressure::<A>(first..first + count, tags, None) {
        Ok(stats) => {
            println!("{}, {:.1} s: {stats}", A::NAME, begun.elapsed().as_secs_f64());
            let is_much = stats.freed > count / 2 && stats.moved > count / 20 && stats.swapped.1 > count / 2;
            let is_too_much = stats.exhausted > count / 4;
            assert!(count < 100 || is_much && !is_too_much, "there is little pressure, or too much: {stats}");
        }
        Err(report) => panic!("{report}"),
    }
}

#[test]
fn x86_64_agrees_with_the_model() {
    compare::<X86_64>(20, false);
}

#[test]
fn the_tiny_architecture_agrees_with_the_model() {
    compare::<Toy>(22, false);
}

#[test]
fn aarch64_agrees_with_the_model_on_tags() {
    compare::<Aarch64>(23, true);
}

#[test]
fn the_tiny_architecture_agrees_with_the_model_on_tags() {
    compare::<Toy>(24, true);
}

/// The runner must notice every deliberate mistake of the model, and find a short sequence that shows it.
fn notices<A: Arch>(quirk: Quirk, tags: bool) {
    let report = run_seeds_under_pressure::<A>(0..4000, tags, Some(quirk)).expect_err("the mistake goes unnoticed");
    println!("{quirk:?}: {report}");
    assert!(report.ops.len() <= 8, "{quirk:?} needs no more than 8 operations: {report}");
}

#[test]
fn mistakes_are_noticed() {
    notices::<Toy>(Quirk::KeepOnFree, false);
    notices::<Toy>(Quirk::KeepOnTruncate, false);
    notices::<Toy>(Quirk::LoseTagsAtFork, true);
    notices::<Toy>(Quirk::LoseAtRemap, false);
    notices::<Toy>(Quirk::LoseAtFork, true);
}
