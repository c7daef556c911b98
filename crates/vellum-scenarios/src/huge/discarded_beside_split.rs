//! C1S: a discard has come to a huge page, and waits for the lock of a fault that splits it for a copy. When it has the
//! lock there is a table, with pages that are to go. (That faults split nothing after the commit has begun does not
//! help: this one had.)

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C1S",
    title: "a discard passes by a huge page that is being split",
    thread: "S4",
    guards: &[Guard::SplitSeen],
    invariants: &["I-GONE", "I-LOST"],
    runs: |mode| mode.is_broadcast() || !mode.semantics.hardware_dirty,
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.fork();
    },
    actors: &[
        actor("DONTNEED", |cpu| {
            cpu.dont_need(X, LEAF);
            cpu.load(X);
        }),
        actor("copy-on-write", |cpu| {
            cpu.store(Y, 2);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
