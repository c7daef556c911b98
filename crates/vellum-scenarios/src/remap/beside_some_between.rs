//! B9U: while a page moves down from far, somebody takes a right away from all between, and from the page. He does not wait for
//! who moves and has claimed the new place only; so that one waits for him, or the right comes back.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Mode, Process, Prot, Scenario, X, Y, actor};
use vellum::Guard;

const BETWEEN: At = At(7, 0);
const FAR: At = At(11, 0);
/// Pages from the one to the other: four leaves of four, and one.
const SOME: u64 = 17;
/// Slot of the note: the right was taken away.
const PROTECTED: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9U",
    title: "a move passes by who has claimed its old place and does not wait for it",
    thread: "S1",
    guards: &[Guard::OthersAwaited],
    // Elsewhere the places are near each other, and have one claim.
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-VMA"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        // The new place has a leaf.
        cpu.map(Y, 1, Prot::ReadWrite);
        cpu.map(BETWEEN, SOME, Prot::ReadWrite);
        cpu.store(FAR, 1);
        cpu.switch_away();
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.switch_away();
            cpu.remap(FAR, 1, X);
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
        let stored = cpu.store(X, 2);
        cpu.expect(cpu.noted(PROTECTED) == 0 || !stored, "I-VMA", "a store after mprotect took the right away");
    },
    ..Scenario::DEFAULT
};
