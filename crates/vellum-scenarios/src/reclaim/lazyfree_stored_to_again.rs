//! I7: a user has given a page up, and stores to it all the same. Reclaim must ask whether it was stored to when it has
//! taken the entry away, not before.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "I7",
    title: "a page is dropped that was stored to again",
    thread: "S5",
    guards: &[Guard::LazyFreeRechecked],
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.give_up(X, 1);
    },
    actors: &[
        // It had the page's dirty translation.
        actor("user", |cpu| {
            cpu.store(X, 2);
        }),
        actor("reclaim", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
