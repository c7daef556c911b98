//! E11: two threads want a page from swap, and there is no swap cache: each reads one for itself. The first maps his,
//! the slot is free, he stores, and the page goes out again, to that slot. The second finds the entry as it was, and
//! maps what was there before.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E11",
    title: "two threads read one slot without the swap cache",
    guards: &[Guard::SlotCacheMutex],
    invariants: &["I-LOST", "I-SLOT"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
    },
    actors: &[
        actor("reader", |cpu| {
            cpu.load(X);
        }),
        actor("writer", |cpu| {
            cpu.store(X, 2);
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
