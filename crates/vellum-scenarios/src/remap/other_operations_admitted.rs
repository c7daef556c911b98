//! B9: somebody changes entries that are being moved. In Linux a reverse-map walker came in between, which this core
//! does not have; here a range operation would, did a move not claim both places. A right that was taken away comes
//! back.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Z, actor};
use vellum::Guard;

/// Slot of the note: the right was taken away.
const PROTECTED: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9",
    title: "a move does not exclude other operations on what it moves",
    thread: "S1",
    guards: &[Guard::MoveUnderClaim],
    invariants: &["I-VMA"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(X, 1, Z);
        }),
        actor("mprotect", |cpu| {
            if cpu.protect(X, 1, Prot::Read) {
                cpu.note(PROTECTED, 1);
            }
        }),
    ],
    end: |cpu| {
        let stored = cpu.store(Z, 2);
        cpu.expect(cpu.noted(PROTECTED) == 0 || !stored, "I-VMA", "a store after mprotect took the right away");
    },
    ..Scenario::DEFAULT
};
