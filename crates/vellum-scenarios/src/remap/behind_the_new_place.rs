//! B9X: as B9U, where who takes the right away begins in the slot of the uppermost table in which the new place is, behind
//! that: by the slots of his claim he seems to wait for who moves, and does not.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Mode, Process, Prot, Scenario, actor};
use vellum::Guard;

const NEW: At = At(4, 0);
const BETWEEN: At = At(6, 0);
const FAR: At = At(10, 0);
/// Pages from the one to the other: four leaves of four, and one.
const SOME: u64 = 17;
/// Slot of the note: the right was taken away.
const PROTECTED: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9X",
    title: "a move passes by who seems to have claimed both of its places",
    thread: "S1",
    guards: &[Guard::OthersAwaited],
    // Elsewhere the places are near each other, and have one claim.
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-VMA"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        // The new place has a leaf.
        cpu.map(At(4, 1), 1, Prot::ReadWrite);
        cpu.map(BETWEEN, SOME, Prot::ReadWrite);
        cpu.store(FAR, 1);
        cpu.switch_away();
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.switch_away();
            cpu.remap(FAR, 1, NEW);
        }),
        actor("mprotect", |cpu| {
            cpu.switch_away();
            if cpu.protect(BETWEEN, SOME, Prot::Read) {
                cpu.note(PROTECTED, 1);
            }
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        let stored = cpu.store(NEW, 2);
        cpu.expect(cpu.noted(PROTECTED) == 0 || !stored, "I-VMA", "a store after mprotect took the right away");
    },
    ..Scenario::DEFAULT
};
