//! A5: two batches owe flushes to one leaf. If the first to flush takes back a mark instead of its own count, the
//! other's debt is forgotten, and mprotect does not pay it.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A5",
    title: "a batch that has flushed clears what another owes",
    thread: "S1",
    guards: &[Guard::PendingCounted],
    alike: true,
    invariants: &["I-TLBPERM"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("pageout, mprotect, user", |cpu| {
            cpu.page_out(X, 1);
            cpu.protect(Y, 1, Prot::Read);
            let is_stored = cpu.store(Y, 2);
            cpu.expect_if_done(!is_stored, "I-TLBPERM", "a store after mprotect has taken the right to it");
        }),
        actor("pageout", |cpu| {
            cpu.page_out(Y, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
