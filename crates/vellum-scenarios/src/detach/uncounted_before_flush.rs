//! B25M, as B3: the pages of a leaf that was taken out of the tree stop counting as mapped before the flush. Who seems
//! to be a page's only user stores to it in place, and the other process can still read it by a stale translation.

use crate::programs::load_around_store_of_child;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, TWO_LEAVES, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B25M",
    title: "what a detached leaf shows stops to count before the flush",
    guards: &[Guard::DetachedFlushed],
    invariants: &["I-COW", "I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, TWO_LEAVES, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.fork();
    },
    actors: &[
        actor("parent: DONTNEED", |cpu| {
            cpu.dont_need(X, TWO_LEAVES);
        }),
        actor("parent, then child", load_around_store_of_child),
    ],
    ..Scenario::DEFAULT
};
