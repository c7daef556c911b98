//! G2, of a fault that fails: it is about to read a page of a file; meanwhile something else is mapped there, and then
//! the file is cut, so that it has no such page any more. Neither before nor after that is the load a bus error: what
//! cannot be read is one only if the address still shows it.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G2B",
    title: "a fault fails for a mapping that has been replaced",
    thread: "S2",
    guards: &[Guard::BusWhileShown],
    invariants: &["I-ACCESS"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
    },
    actors: &[
        actor("load", |cpu| {
            cpu.expect_if_done(cpu.load(X).is_some(), "I-ACCESS", "a bus error for memory that can be loaded");
        }),
        actor("mmap, ftruncate", |cpu| {
            // Only then is the page the file's alone.
            if cpu.map(X, 1, Prot::ReadWrite) {
                cpu.truncate(0);
            }
        }),
    ],
    ..Scenario::DEFAULT
};
