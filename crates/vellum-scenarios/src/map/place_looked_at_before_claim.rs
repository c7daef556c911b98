//! G13, of two mappings that must not replace anything: one covers two tables, the other the second of them only. Each
//! finds its place free before it has it to itself, and both are made; or the larger fails when half of it is there.

use vellum_lab::scenario::{At, Prot, Scenario, Z, actor};
use vellum::Guard;

/// The page before Z, in another table.
const BEFORE: At = At(0, 3);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G13F",
    title: "a mapping that replaces nothing replaces another",
    thread: "S2",
    guards: &[Guard::MapUnderClaim],
    alike: true,
    invariants: &["I-VMA"],
    actors: &[
        actor("mmap of both", |cpu| {
            let done = cpu.map_if_free(BEFORE, 2, Prot::ReadWrite);
            cpu.note(0, done as u64);
        }),
        actor("mmap of the second", |cpu| {
            let done = cpu.map_if_free(Z, 1, Prot::ReadWrite);
            cpu.note(1, done as u64);
        }),
    ],
    end: |cpu| {
        let (both, second) = (cpu.noted(0), cpu.noted(1));
        cpu.expect_if_done(both + second == 1, "I-VMA", "not one of two mappings of one place was made");
        cpu.expect_if_done(cpu.is_mapped(BEFORE) == (both == 1), "I-VMA", "half a mapping is left");
    },
    ..Scenario::DEFAULT
};
