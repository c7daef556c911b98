//! A4, with fork: reclaim has taken the page out of its entry, and not flushed yet. Fork finds only that it is in swap,
//! which takes no right away from anybody, and flushes nothing. What the parent stores through the old translation is
//! written to swap with the page, and the child gets it from there.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A4F",
    title: "fork relies on a flush that a batch still owes",
    thread: "S1",
    guards: &[Guard::SettledByFork],
    alike: true,
    invariants: &["I-COW", "I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("fork, user", |cpu| {
            let Some(child) = cpu.fork() else { return };
            cpu.store(X, 2);
            cpu.switch_to(child);
            cpu.load(X);
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
