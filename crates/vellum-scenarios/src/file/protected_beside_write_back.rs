//! B22, beside mprotect: a walk for write-back goes from one class that shows the file to the next, the youngest place
//! first. A mapping gets a new class; its old one leaves the chain before the walk comes to it. If the new one has come
//! to the head of the chain, not to where the old one was, the walk never comes to the mapping, and the write-back
//! returns before the file has what was stored there.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Prot, Scenario, X, actor};

/// Another place of the page, in a mapping that a walk comes to first, as it is the youngest.
const SECOND: At = At(0, 2);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B22P",
    title: "write-back misses a mapping whose class changes",
    thread: "S1",
    guards: &[Guard::PlacesTogether],
    alike: true,
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
