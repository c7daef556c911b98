//! B3H: a huge page stops counting as mapped before the flush: who seems to be its only user stores to it in place, and
//! the other process can still read it by a stale translation.

use crate::programs::load_around_store_of_child;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};
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
        actor("parent, then child", load_around_store_of_child),
    ],
    ..Scenario::DEFAULT
};
