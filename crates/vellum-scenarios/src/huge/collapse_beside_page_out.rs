//! E20H: a page is put out to swap after its leaf was looked at and before that is taken out of the tree. Its entry
//! says where it is; but who collapses copies pages, and who looks for entries of the slot finds none.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E20H",
    title: "a page goes to swap before its leaf is collapsed",
    thread: "S4",
    guards: &[Guard::CollapseLooksUnderLock],
    invariants: &["I-LOST", "I-ACCESS"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        cpu.swap_on(2);
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise COLLAPSE", |cpu| {
            cpu.collapse(X);
        }),
        actor("madvise PAGEOUT", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(1), "I-LOST", "the huge page lacks what was in swap"),
    ..Scenario::DEFAULT
};
