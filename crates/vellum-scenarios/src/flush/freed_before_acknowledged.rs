//! A16: munmap sends its interrupt, frees the page, and only then waits for the answer. A CPU that has not taken the
//! interrupt yet stores through its translation, to a frame which may be somebody else's by then.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A16",
    title: "a frame is freed before its flush is acknowledged",
    thread: "S1",
    guards: &[Guard::FreedWhenAcknowledged],
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-TLBFREE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 3, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.store(X, 2);
            cpu.store(X, 3);
        }),
        actor("munmap", |cpu| {
            cpu.unmap(X, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
