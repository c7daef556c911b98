//! F3, of two faults: one reads a page of a file, the other sleeps until that is done. Nobody wakes it, or it is woken
//! before it could see that the page was read: it sleeps for ever.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F3W",
    title: "who waits for a page that is being read sleeps on",
    guards: &[Guard::ReadersWoken],
    invariants: &["I-PROG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::Read, 0);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.load(X);
        }),
        actor("another user", |cpu| {
            cpu.load(X);
        }),
    ],
    ..Scenario::DEFAULT
};
