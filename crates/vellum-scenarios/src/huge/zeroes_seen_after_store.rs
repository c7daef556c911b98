//! D9HZ: a huge page of zeroes, which loads have shown, gives way to a huge page of its own at the first store. It is
//! flushed before: else somebody who still has the zeroes loads them after he could have seen the store.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "D9HZ",
    title: "zeroes are loaded where a huge page was stored to",
    thread: "S4",
    guards: &[Guard::CopyBreakBeforeMake],
    invariants: &["I-LOST", "I-BBM", "I-TLBPERM"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.load(X);
    },
    actors: &[
        actor("reader", |cpu| {
            cpu.load(X);
        }),
        actor("store", |cpu| {
            cpu.store(X, 2);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.huge_pages() == 1, "I-COUNT", "there is not one huge page"),
    ..Scenario::DEFAULT
};
