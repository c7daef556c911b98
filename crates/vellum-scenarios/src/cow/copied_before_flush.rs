//! D9: a copy-on-write shows the new page before every CPU has forgotten the old one. A CPU that walks the tables
//! stores to the new page, and one that still has the old translation does not see it: memory is not coherent any
//! more.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "D9",
    title: "a copied page appears before the flush of the old one",
    guards: &[Guard::CopyBreakBeforeMake],
    alike: true,
    bound: Bound { preemptions: 1, surprises: 1 },
    invariants: &["I-LOST", "I-BBM"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.fork();
        cpu.load(X);
    },
    actors: &[
        actor("reader", |cpu| {
            cpu.load(X);
        }),
        actor("copy-on-write", |cpu| {
            cpu.store(X, 2);
        }),
        actor("writer", |cpu| {
            cpu.store(X, 3);
        }),
    ],
    ..Scenario::DEFAULT
};
