//! B22, of several write-backs: one has taken a page's dirty mark and is writing the page. The others find nothing to
//! do, and return before the file has it, unless they wait for their turn, each of them until all have been woken, or
//! see that the page is being written and wait for that.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B22W",
    title: "write-back returns while another writes the page",
    thread: "S1",
    guards_redundant: &[Guard::WriteBacksInTurn, Guard::WritesAwaited],
    invariants: &["I-DIRTY"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 7);
        // Nothing but its mark says that it is dirty.
        cpu.unmap(X, 1);
    },
    actors: &[
        actor("fsync", |cpu| {
            cpu.write_back();
        }),
        actor("fsync", |cpu| {
            cpu.write_back();
        }),
        actor("fsync", |cpu| {
            cpu.write_back();
        }),
    ],
    ..Scenario::DEFAULT
};
