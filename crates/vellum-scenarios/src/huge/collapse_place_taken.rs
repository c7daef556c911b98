//! B17C, as B17 and C8: a fault has found that there is no leaf, and makes one, which it hangs into the place that
//! another fault has filled, and a collapse has cleared, in between. Then two things are to be in one place: the table
//! and the huge page.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B17C",
    title: "a fault makes a table where a huge page is being put together",
    thread: "S4",
    guards: &[Guard::CollapsePlaceKept],
    alike: true,
    invariants: &["I-LOST", "I-COUNT", "I-BBM", "I-TLBPERM", "I-VMA"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.store(Y, 2);
        }),
        actor("fault, madvise COLLAPSE", |cpu| {
            cpu.store(X, 1);
            cpu.collapse(X);
        }),
    ],
    end: |cpu| {
        cpu.load(Y);
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
