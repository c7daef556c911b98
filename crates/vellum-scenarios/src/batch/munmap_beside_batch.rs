//! A4, with munmap and a new mapping: munmap finds only that the page is in swap, drops the slot, and owes no flush.
//! Who maps something new there sees the old page.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A4U",
    title: "munmap relies on a flush that a batch still owes",
    thread: "S1",
    guards: &[Guard::SettledByZap],
    alike: true,
    invariants: &["I-GONE", "I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.swap_on(4);
        // One more, so that the leaf is not given back, with a flush of its own.
        cpu.map(X, 3, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("munmap, mmap, user", |cpu| {
            // The first page is there, and flushed anyway.
            cpu.unmap(X, 2);
            cpu.map(X, 2, Prot::ReadWrite);
            cpu.load(Y);
        }),
        actor("pageout", |cpu| {
            cpu.page_out(Y, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
