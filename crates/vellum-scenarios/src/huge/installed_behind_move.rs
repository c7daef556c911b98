//! B9H: a move has made the leaves for what it found at the old place, when a huge page is installed there. It is not among them.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Prot, Scenario, X, actor};
use vellum::Guard;

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
            cpu.remap(X, LEAF, At(2, 0));
        }),
        actor("fault", |cpu| {
            cpu.store(X, 1);
        }),
    ],
    end: |cpu| {
        cpu.load(At(2, 0));
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
