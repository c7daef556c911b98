//! C10: small pages are copied to a huge one before their flush. What a CPU stores to an old frame by a translation
//! that it still has is not in the new one.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C10",
    title: "small pages are copied to a huge one before their flush",
    thread: "S4",
    guards: &[Guard::CollapseFlushedFirst],
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.store(X, 2);
            cpu.store(X, 3);
        }),
        actor("madvise COLLAPSE", |cpu| {
            cpu.collapse(X);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(3), "I-LOST", "the huge page lacks the last store"),
    ..Scenario::DEFAULT
};
