//! C5: a table takes the place of a huge page before it is filled. Who comes upon it finds nothing, and gets another page; what
//! was there is lost.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C5",
    title: "the table in the place of a huge page is empty at first",
    thread: "S4",
    guards: &[Guard::SplitFilledFirst],
    invariants: &["I-LOST", "I-REF", "I-COUNT"],
    breaks: |mode| !mode.semantics.mixed_sizes_fault,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(At(0, 2), 1, Prot::Read);
        }),
        actor("user", |cpu| {
            cpu.speculate(X);
            cpu.load(X);
            cpu.store(X, 2);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
