//! B3H: a huge page stops counting as mapped before the flush: who seems to be its only user stores to it in place, and the
//! other process can still read it by a stale translation.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B3H",
    title: "a huge mapping stops to count before the flush",
    thread: "S4",
    guards: &[Guard::MappedUntilFlush],
    invariants: &["I-COW", "I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.fork();
    },
    actors: &[
        actor("parent: DONTNEED", |cpu| {
            cpu.dont_need(X, LEAF);
        }),
        actor("parent, then child", |cpu| {
            cpu.load(X);
            cpu.switch_to(Process(1));
            cpu.store(X, 2);
            cpu.switch_to(Process(0));
            cpu.load(X);
        }),
    ],
    ..Scenario::DEFAULT
};
