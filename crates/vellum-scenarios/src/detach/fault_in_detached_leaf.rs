//! B25F, as B16: a fault finds a leaf, waits for its lock, and gets it when the leaf was taken out of the tree with
//! what it shows. A page put there goes with the others, and nobody has counted it.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, TWO_LEAVES, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B25F",
    title: "a fault installs a page in a detached leaf",
    guards: &[Guard::StaleCheck],
    alike: true,
    invariants: &["I-LOST", "I-COUNT"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        cpu.map(X, TWO_LEAVES, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise DONTNEED", |cpu| {
            cpu.dont_need(X, TWO_LEAVES);
        }),
        actor("fault", |cpu| {
            cpu.store(Y, 2);
            cpu.load(Y);
        }),
    ],
    ..Scenario::DEFAULT
};
