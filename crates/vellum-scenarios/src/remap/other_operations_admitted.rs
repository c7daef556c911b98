//! B9: somebody changes entries that are being moved. In Linux a reverse-map walker came in between, which this core
//! does not have; here a range operation would, did a move not claim both places. A right that was taken away comes
//! back. Who comes along gives back a leaf first, and must not take the move's claim for his own while he moves up.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Process, Prot, Scenario, X, Z, actor};
use vellum::Guard;

/// Slot of the note: the right was taken away.
const PROTECTED: usize = 0;
/// A page that has a leaf of its own, under the table that the move has claimed.
const ALONE: At = At(2, 0);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9",
    title: "a move does not exclude other operations on what it moves",
    thread: "S1",
    guards: &[Guard::MoveUnderClaim],
    alike: true,
    invariants: &["I-VMA"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.map(ALONE, 1, Prot::ReadWrite);
        cpu.store(ALONE, 1);
    },
    actors: &[
        actor("mremap", |cpu| {
            // No flush of the other is to interrupt it: a pre-emption less.
            cpu.switch_away();
            cpu.remap(X, 1, Z);
        }),
        actor("mprotect", |cpu| {
            // Its leaf goes, too, with a claim that wants to go up to where the move's is.
            cpu.unmap(ALONE, 1);
            if cpu.protect(X, 1, Prot::Read) {
                cpu.note(PROTECTED, 1);
            }
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        let stored = cpu.store(Z, 2);
        cpu.expect(cpu.noted(PROTECTED) == 0 || !stored, "I-VMA", "a store after mprotect took the right away");
    },
    ..Scenario::DEFAULT
};
