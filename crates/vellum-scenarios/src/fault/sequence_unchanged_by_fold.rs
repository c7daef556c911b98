//! G4: giving an empty table back changes no mapping, so the sequence count of its classes stays as it is, and a fault
//! that compares it alone finds everything as planned in a table that has been unlinked. That the table is marked, and
//! the mark looked at under its lock, is a protection of its own.

use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G4",
    title: "reclaiming a table leaves the sequence as it is",
    thread: "S2",
    guards: &[Guard::StaleCheck],
    invariants: &["I-COUNT"],
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise DONTNEED", |cpu| {
            cpu.dont_need(X, 1);
        }),
        actor("fault", |cpu| {
            cpu.store(X, 2);
            cpu.load(X);
        }),
    ],
    ..Scenario::DEFAULT
};
