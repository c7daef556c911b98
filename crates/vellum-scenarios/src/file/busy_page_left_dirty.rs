//! B7, of a page whose lock somebody has when write-back comes, to look whether it must move: it is waited for, and
//! made clean only then. If that is left out, entries keep what was stored through them to themselves, and the page
//! passes for clean.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B7M",
    title: "write-back passes by what it had to wait for",
    thread: "S1",
    guards: &[Guard::BusyMadeClean],
    invariants: &["I-DIRTY"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 7);
    },
    actors: &[
        actor("move_pages", |cpu| {
            // To where it is.
            cpu.migrate(X, 1, 0);
        }),
        actor("fsync", |cpu| {
            cpu.write_back();
        }),
    ],
    ..Scenario::DEFAULT
};
