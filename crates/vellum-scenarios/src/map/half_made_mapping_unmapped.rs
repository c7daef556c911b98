//! G13: a new mapping covers two tables, which get it one after the other. Other operations must not come between: one
//! claim covers both. Without it munmap finds the first half, and the second appears when it has returned.

use vellum_lab::scenario::{At, Prot, Scenario, Z, actor};
use vellum::Guard;

/// The page before Z, in another table.
const BEFORE: At = At(0, 3);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G13",
    title: "munmap finds a mapping half made",
    thread: "S2",
    guards: &[Guard::MapUnderClaim],
    alike: true,
    invariants: &["I-VMA"],
    actors: &[
        actor("mmap", |cpu| {
            cpu.map(BEFORE, 2, Prot::ReadWrite);
        }),
        actor("munmap", |cpu| {
            cpu.unmap(BEFORE, 2);
        }),
    ],
    end: |cpu| cpu.expect(cpu.is_mapped(BEFORE) == cpu.is_mapped(Z), "I-VMA", "half a mapping is left"),
    ..Scenario::DEFAULT
};
