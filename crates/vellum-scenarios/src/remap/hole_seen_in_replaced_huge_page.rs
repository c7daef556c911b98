//! G6, of a fault, among huge pages: one is moved to where another one is, which goes first. Whoever uses the place
//! meanwhile finds either of the two there, and no hole between them.

use crate::programs::huge_page;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Prot, Scenario, X, actor};

const OTHER: At = At(2, 0);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G6H",
    title: "an access finds a hole where one huge page replaces another",
    thread: "S4",
    guards: &[Guard::HoleAwaited],
    invariants: &["I-VMA"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        huge_page(cpu);
        cpu.map(OTHER, LEAF, Prot::ReadWrite);
        cpu.store(OTHER, 2);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(OTHER, LEAF, X);
        }),
        actor("user", |cpu| {
            cpu.expect_if_done(cpu.load(X).is_some(), "I-VMA", "a load of what is mapped all the time gets a signal");
        }),
    ],
    ..Scenario::DEFAULT
};
