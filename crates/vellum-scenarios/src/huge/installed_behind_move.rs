//! B9H: a move has made the leaves for what it found at the old place, when a huge page is installed there. It is not
//! among them. The new place is none for a huge page, so it would have to be cut.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Prot, Scenario, X, actor};

const NEW: At = At(2, 1);
/// Slot of the note: the store was done.
const STORED: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9H",
    title: "a huge page comes where a move has looked",
    thread: "S4",
    guards: &[Guard::HugeUnclaimed],
    invariants: &["I-LOST", "I-COUNT", "I-REF", "I-VMA", "I-TLBFREE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(X, LEAF, NEW);
        }),
        actor("fault", |cpu| {
            if cpu.store(X, 1) {
                cpu.note(STORED, 1);
            }
        }),
    ],
    end: |cpu| {
        let loaded = cpu.load(NEW);
        cpu.load(X);
        cpu.expect_if_done(
            cpu.noted(STORED) == 0 || loaded == Some(1),
            "I-LOST",
            "a store is not where it was moved to",
        );
    },
    ..Scenario::DEFAULT
};
