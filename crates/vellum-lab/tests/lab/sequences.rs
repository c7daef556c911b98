//! Random sequences of operations on the core and on the reference model: 2,400 and a few in all, or as many as
//! `VELLUM_SEQUENCES` says, or `VELLUM_LONGER` times as many, and some hundreds on each further architecture; from
//! `VELLUM_SEED` on, if that is set. Those that differ by the format of their entries have theirs in `vellum-hosts`,
//! which compiles the core for them anyway.

use crate::toys::{self, Toy};
use std::time::Instant;
use vellum::arch::{Aarch64, Arch, Sparc64, TinyAssist, TinyBlind, TinyBroadcast, X86_64};
use vellum_lab::model::Quirk;
use vellum_lab::model::sequence::{Length, Op, Rights, Settings, paste::*, run, run_seeds};

/// Sequences in all; each test runs its part.
const SEQUENCES: u64 = 2_400;
/// Tests that share them.
const PARTS: u64 = 4;
/// Sequences on each further architecture are so many times fewer than a part.
const FEWER: u64 = 8;

/// Sequences in all.
fn count() -> u64 {
    variable("VELLUM_SEQUENCES").unwrap_or_else(|| SEQUENCES * variable("VELLUM_LONGER").unwrap_or(1))
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Runs part `part` of the sequences on `A`.
fn compare<A: Arch>(part: u64) {
    run_part::<A>(part, count().div_ceil(PARTS));
}

/// Runs a few sequences on `A`.
fn compare_some<A: Arch>(part: u64) {
    run_part::<A>(part, count().div_ceil(PARTS * FEWER));
}

fn run_part<A: Arch>(part: u64, count: u64) {
    let first = variable("VELLUM_SEED").unwrap_or(0) + (part << 40);
    let begun = Instant::now();
    match run_seeds::<A>(first..first + count, None) {
        Ok(stats) => {
            println!("{}, {:.1} s: {stats}", A::NAME, begun.elapsed().as_secs_f64());
            assert!(
                count < 100 || stats.huge.0 > count / 16 && stats.huge.1 > count / 40,
                "huge pages are rare: {stats}"
            );
            assert!(count < 100 || stats.folios > count / 40, "folios are rare: {stats}");
        }
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
fn the_tiny_architecture_agrees_with_the_model() {
    compare::<Toy>(4);
}

#[test]
fn the_tiny_architecture_agrees_with_the_model_again() {
    compare::<Toy>(5);
}

#[test]
fn aarch64_agrees_with_the_model() {
    compare_some::<Aarch64>(6);
}

#[test]
fn sparc64_agrees_with_the_model() {
    compare_some::<Sparc64>(10);
}

#[test]
fn hardware_bits_agree_with_the_model() {
    toys::like::<TinyAssist>(|| compare_some::<Toy>(11));
}

#[test]
fn blind_dirty_bits_agree_with_the_model() {
    toys::like::<TinyBlind>(|| compare_some::<Toy>(12));
}

#[test]
fn broadcasts_agree_with_the_model() {
    compare_some::<TinyBroadcast>(13);
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
    notices::<X86_64>(Quirk::KeepOnRemove);
    notices::<X86_64>(Quirk::LoseAtFork);
    notices::<X86_64>(Quirk::LoseGuardsAtFork);
    notices::<X86_64>(Quirk::KeepUnderGuard);
    notices::<Toy>(Quirk::LoseGuardsAtRemap);
    notices::<X86_64>(Quirk::ProtectOneLess);
    notices::<Toy>(Quirk::LoseAtRemap);
    notices::<Toy>(Quirk::WriteThroughPrivate);
    notices::<Toy>(Quirk::TornStore);
}

/// A private mapping of so many pages.
fn mapping(at: u16, length: Length, rights: Rights) -> Op {
    let (put, most, what, how) = (Exactly, AllRights, PrivateZero, Plain);
    Map { cpu: 0, space: 0, at: Pool(at), length, put, rights, most, what, how }
}

/// The same, wherever there is room.
fn anywhere(length: Length) -> Op {
    let (put, most, what, how) = (AnyPlace, AllRights, PrivateZero, Plain);
    Map { cpu: 0, space: 0, at: Pool(0), length, put, rights: ReadWrite, most, what, how }
}

fn agrees<A: Arch>(name: &str, ops: &[Op], settings: &Settings) {
    let result = run::<A>(ops, settings);
    assert!(result.is_ok(), "{name}: {result:?}");
}

/// The runs of classes in an upper table pass through states with more runs than before or after.
#[test]
fn changes_in_several_steps_have_room_for_runs() {
    let settings = Settings { cpus: 1, check_every: 1, ..Settings::default() };
    let across_the_root = [
        mapping(53, Pages(4), ReadWrite),
        anywhere(Pages(1)),
        Unmap { cpu: 0, space: 0, at: Pool(52), length: Pages(6) },
    ];
    agrees::<X86_64>("unmap across root slots", &across_the_root, &settings);
    let table_inside = [
        anywhere(Pages(1)),
        mapping(50, To(66), ReadWrite),
        Store { cpu: 0, space: 0, at: Answer { back: 0, page: 0 }, offset: 0, bytes: 1 },
        Advise { cpu: 0, space: 0, at: Mapped { area: 0, page: 0 }, length: Rest, advice: DontFork },
    ];
    agrees::<X86_64>("advise across a table", &table_inside, &settings);
    let many_runs = [
        mapping(26, Pages(1), ReadWrite),
        mapping(39, Pages(1), ReadWrite),
        anywhere(Pages(5)),
        Protect { cpu: 0, space: 0, at: Mapped { area: 2, page: 1 }, length: Pages(1), rights: ReadWrite },
        Advise { cpu: 0, space: 0, at: Mapped { area: 2, page: 2 }, length: Pages(2), advice: DontFork },
        Protect { cpu: 0, space: 0, at: Mapped { area: 2, page: 0 }, length: Pages(3), rights: ReadOnly },
    ];
    agrees::<X86_64>("protect runs that merge and part", &many_runs, &settings);
}

/// Growing a moved mapping that fills an upper slot: the class is released and retained by its only user.
#[test]
fn a_class_survives_being_set_where_it_is() {
    let settings = Settings { cpus: 1, check_every: 8, ..Settings::default() };
    let wander = |length, new_length| Remap {
        cpu: 0,
        space: 0,
        at: Mapped { area: 0, page: 0 },
        length: Pages(length),
        new_length: Pages(new_length),
        goal: Wander,
        keep_old: false,
    };
    let file = Map {
        cpu: 0,
        space: 0,
        at: Pool(60),
        length: Pages(1),
        put: AnyPlace,
        rights: ReadWrite,
        most: AllRights,
        what: ObjectShared(1, 2),
        how: Plain,
    };
    let ops = [mapping(40, Pages(2), ReadWrite), wander(1, 4), wander(4, 6), Quiesce { cpu: 0 }, file];
    agrees::<Toy>("grow a moved mapping", &ops, &settings);
}
