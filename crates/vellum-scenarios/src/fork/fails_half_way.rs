//! E17: a fork fails in the middle of a table, when a slot takes no more entries, or memory is short. What the child
//! has by then counts, and goes when the child does.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E17",
    title: "a fork fails between two entries in swap",
    guards: &[Guard::PartialForkCounted],
    invariants: &["I-SLOT"],
    failures: true,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 2);
        cpu.swap_on(4);
        cpu.page_out(X, 2);
    },
    actors: &[actor("fork", |cpu| {
        cpu.fork();
    })],
    ..Scenario::DEFAULT
};
