//! B17, after a failure: mprotect over two leaves finds the first without entries, and gets no memory for the second.
//! It gives back what is not needed; a fault must not put another table there before the flush either.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Prot, Scenario, X, Y, Z, actor};
use vellum::Guard;

/// The page before Z, under the same leaf as X.
const BEFORE: At = At(0, 3);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B17F",
    title: "a table takes the place of one that a failed operation gives back",
    guards: &[Guard::TablesBreakBeforeMake],
    breaks: |mode| mode.semantics.break_before_make,
    invariants: &["I-BBM"],
    failures: true,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.map(Z, LEAF, Prot::ReadWrite);
        // A leaf that has been walked, and loses its only entry without being given back.
        cpu.store(X, 1);
        cpu.give_up(X, 1);
        cpu.page_out(X, 1);
        cpu.speculate(X);
    },
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(BEFORE, 2, Prot::Read);
        }),
        actor("fault", |cpu| {
            cpu.store(Y, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
