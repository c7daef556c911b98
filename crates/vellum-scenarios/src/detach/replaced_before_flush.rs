//! B25R, as B17 and B23: another mapping replaces one whose leaf was taken out of the tree with what it shows. A fault
//! makes a leaf in its place, and shows a new page, before the flush: then one CPU stores to that while another reads
//! the old.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, TWO_LEAVES, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B25R",
    title: "a leaf takes a detached one's place before the flush",
    guards: &[Guard::TablesBreakBeforeMake],
    alike: true,
    invariants: &["I-GONE", "I-LOST", "I-BBM"],
    bound: Bound { preemptions: 1, surprises: 0 },
    further: Some(Bound { preemptions: 0, surprises: 1 }),
    start: |cpu| {
        cpu.map(X, TWO_LEAVES, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.load(X);
        }),
        actor("mmap MAP_FIXED", |cpu| {
            cpu.map(X, TWO_LEAVES, Prot::ReadWrite);
        }),
        actor("user", |cpu| {
            cpu.store(X, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
