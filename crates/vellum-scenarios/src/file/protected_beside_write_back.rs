//! B22, beside mprotect: a walk for write-back goes from one class that shows the file to the next, the youngest first. A
//! mapping gets a new class, at the head of the chain, which was passed; its old one leaves the chain before it is come to.
//! If the walk does not look at the head again, it never comes to the mapping, and the write-back returns before the file
//! has what was stored there.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Prot, Scenario, X, actor};

/// Another place of the page, in a mapping that a walk comes to first, as it is the youngest.
const SECOND: At = At(0, 2);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B22P",
    title: "write-back misses a mapping whose class changes",
    thread: "S1",
    guards: &[Guard::ChainReread],
    invariants: &["I-DIRTY"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.map_file(SECOND, 1, Prot::ReadWrite, 0);
        cpu.load(SECOND);
        cpu.store(X, 7);
    },
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(X, 1, Prot::Read);
        }),
        actor("fsync", |cpu| {
            cpu.switch_away();
            cpu.write_back();
        }),
    ],
    ..Scenario::DEFAULT
};
