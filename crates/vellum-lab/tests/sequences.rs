//! Random sequences of operations on the core and on the reference model: 20,000 and a few in all, or as many as
//! `VELLUM_SEQUENCES` says; from `VELLUM_SEED` on, if that is set.

use std::time::Instant;
use vellum::arch::{Arch, Tiny, X86_64, X86_64La57};
use vellum_lab::model::Quirk;
use vellum_lab::model::sequence::run_seeds;

/// Sequences in all; each test runs its part.
const SEQUENCES: u64 = 20_400;
/// Tests that share them.
const PARTS: u64 = 6;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Runs part `part` of the sequences on `A`.
fn compare<A: Arch>(part: u64) {
    let count = variable("VELLUM_SEQUENCES").unwrap_or(SEQUENCES).div_ceil(PARTS);
    let first = variable("VELLUM_SEED").unwrap_or(0) + (part << 40);
    let begun = Instant::now();
    match run_seeds::<A>(first..first + count, None) {
        Ok(stats) => println!("{}, {:.1} s: {stats}", A::NAME, begun.elapsed().as_secs_f64()),
        Err(report) => panic!("{report}"),
    }
}

#[test]
fn x86_64_agrees_with_the_model() {
    compare::<X86_64>(0);
}

#[test]
fn x86_64_agrees_with_the_model_again() {
    compare::<X86_64>(1);
}

#[test]
fn five_levels_agree_with_the_model() {
    compare::<X86_64La57>(2);
}

#[test]
fn five_levels_agree_with_the_model_again() {
    compare::<X86_64La57>(3);
}

#[test]
fn the_tiny_architecture_agrees_with_the_model() {
    compare::<Tiny>(4);
}

#[test]
fn the_tiny_architecture_agrees_with_the_model_again() {
    compare::<Tiny>(5);
}

/// The runner must notice every deliberate mistake of the model, and find a short sequence that shows it.
fn notices<A: Arch>(quirk: Quirk) {
    let report = run_seeds::<A>(0..4000, Some(quirk)).expect_err("the mistake goes unnoticed");
    println!("{quirk:?}: {report}");
    assert!(report.ops.len() <= 8, "{quirk:?} needs no more than 8 operations: {report}");
}

#[test]
fn mistakes_are_noticed() {
    notices::<X86_64>(Quirk::ForgetWipeOnFork);
    notices::<X86_64>(Quirk::KeepOnDontNeed);
    notices::<X86_64La57>(Quirk::LoseAtFork);
    notices::<X86_64La57>(Quirk::ProtectOneLess);
    notices::<Tiny>(Quirk::LoseAtRemap);
    notices::<Tiny>(Quirk::WriteThroughPrivate);
}
