//! A7: mprotect has taken all rights from an entry, and not flushed yet. Migration takes the entry for one that no CPU
//! can have cached, and does not flush either: a CPU goes on to store to the old frame.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A7",
    title: "an entry without rights is moved without a flush",
    thread: "S1",
    guards: &[Guard::InaccessibleFlushed],
    alike: true,
    invariants: &["I-LOST", "I-TLBFREE"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        // Of another sort: mprotect of both flushes after it has given up the lock.
        cpu.map(Y, 1, Prot::Read);
        cpu.store(X, 1);
    },
    actors: &[
        actor("move_pages, user", |cpu| {
            cpu.migrate(X, 1, 1);
            cpu.store(X, 2);
        }),
        actor("mprotect", |cpu| {
            cpu.protect(X, 2, Prot::None);
        }),
    ],
    end: |cpu| {
        cpu.protect(X, 1, Prot::Read);
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
