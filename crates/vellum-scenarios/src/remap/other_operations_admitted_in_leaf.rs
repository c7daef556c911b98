//! B9, within one leaf: the claim that keeps others out is the leaf's own, and who takes the short way through the leaf
//! must see it there. What is moved are two pages, of which the program has cached translations; the leaf stays, so no
//! flush for a table ends those. And who waits for the claim is woken when it has ended.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Prot, Scenario, X, Y, actor};
use vellum::Guard;

/// Slot of the note: the right was taken away.
const PROTECTED: usize = 0;
/// Where X goes; Y goes behind it.
const NEW: At = At(0, 2);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9L",
    title: "a move within a leaf does not exclude other operations there",
    thread: "S1",
    guards: &[Guard::LeafClaimSeen],
    alike: true,
    invariants: &["I-VMA"],
    bound: Bound { preemptions: 1, surprises: 1 },
    // To wait for the claim and to be woken takes two.
    further: Some(Bound { preemptions: 2, surprises: 0 }),
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(X, 2, NEW);
        }),
        actor("mprotect", |cpu| {
            if cpu.protect(X, 1, Prot::Read) {
                cpu.note(PROTECTED, 1);
            }
        }),
    ],
    end: |cpu| {
        let stored = cpu.store(NEW, 2);
        cpu.expect(cpu.noted(PROTECTED) == 0 || !stored, "I-VMA", "a store after mprotect took the right away");
    },
    ..Scenario::DEFAULT
};
