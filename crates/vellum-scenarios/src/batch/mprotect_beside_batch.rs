//! A4: mprotect finds that reclaim has taken the page out of its entry, so it has nothing to change, and returns
//! without a flush. But reclaim has not flushed yet either: the program can still store through the old translation.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A4",
    title: "mprotect relies on a flush that a batch still owes",
    thread: "S1",
    guards: &[Guard::SettledByProtect],
    alike: true,
    invariants: &["I-TLBPERM"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("mprotect, user", |cpu| {
            cpu.protect(X, 1, Prot::Read);
            let is_stored = cpu.store(X, 2);
            cpu.expect_if_done(!is_stored, "I-TLBPERM", "a store after mprotect has taken the right to it");
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
