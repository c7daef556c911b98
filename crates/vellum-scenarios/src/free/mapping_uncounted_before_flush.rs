//! B3: a page stops counting as mapped before the flush. A cleaner is not deceived here, as the page is noted dirty
//! after the flush; but copy-on-write is: who seems to be a page's only user stores to it in place, and the other
//! process can still read it by a stale translation.

use crate::programs::load_around_store_of_child;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B3",
    title: "a mapping stops to count before the flush",
    thread: "S1",
    guards: &[Guard::MappedUntilFlush],
    alike: true,
    invariants: &["I-COW", "I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.fork();
    },
    actors: &[
        actor("parent: DONTNEED", |cpu| {
            cpu.dont_need(X, 1);
        }),
        actor("parent, then child", load_around_store_of_child),
    ],
    ..Scenario::DEFAULT
};
