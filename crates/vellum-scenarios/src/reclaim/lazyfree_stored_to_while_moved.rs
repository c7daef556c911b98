//! I7, at another place: a page that its owner has given up is moved while he stores to it. What the hardware notes in
//! the entry up to the last moment must go along: reclaim asks for it at the new place, and drops what was not stored
//! to.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "I7M",
    title: "a page is dropped that was stored to while it was moved",
    thread: "S5",
    guards: &[Guard::LazyFreeRechecked],
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.give_up(X, 1);
    },
    actors: &[
        actor("mremap, reclaim", |cpu| {
            cpu.remap(X, 1, Y);
            cpu.page_out(Y, 1);
        }),
        actor("user", |cpu| {
            cpu.store(X, 2);
            cpu.store(Y, 3);
        }),
    ],
    end: |cpu| {
        cpu.load(Y);
    },
    ..Scenario::DEFAULT
};
