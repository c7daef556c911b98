//! B4: two take the same page away. The first, reclaim here, has emptied the entry and not flushed; the second finds
//! nothing to flush and returns, and the program that has given the page up still sees it.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B4",
    title: "DONTNEED relies on a flush that a batch still owes",
    thread: "S1",
    guards: &[Guard::SettledByZap],
    alike: true,
    invariants: &["I-GONE", "I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("DONTNEED, user", |cpu| {
            cpu.dont_need(X, 1);
            cpu.load(X);
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
