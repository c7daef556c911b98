//! B7, of a page that somebody is moving when write-back comes: it is waited for, and made clean only then. If that is
//! left out, entries keep what was stored through them to themselves, and the page passes for clean. So it does, for
//! another reason, between the moment at which the move has its entry and that at which it notes what the entry said.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Known, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B7M",
    title: "write-back passes by what it had to wait for",
    thread: "S1",
    guards: &[Guard::BusyMadeClean],
    known: Some(Known { fault: "D2: what a move has taken out of an entry is passed by and not awaited", breaks: |_| true }),
    invariants: &["I-DIRTY"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 7);
    },
    actors: &[
        actor("move_pages", |cpu| {
            cpu.migrate(X, 1, 1);
        }),
        actor("fsync", |cpu| {
            cpu.write_back();
        }),
    ],
    ..Scenario::DEFAULT
};
