//! A4, with a fault: reclaim has taken a page of the file out of a private mapping, and not flushed yet. A store by
//! another thread finds nothing there and puts a copy of its own into the entry; a thread with the old translation goes
//! on to read the file's page.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A4C",
    title: "a copy is installed while a batch still owes the flush",
    thread: "S1",
    guards: &[Guard::SettledByFault],
    alike: true,
    bound: Bound { preemptions: 1, surprises: 0 },
    further: Some(Bound { preemptions: 0, surprises: 1 }),
    invariants: &["I-LOST", "I-BBM"],
    start: |cpu| {
        cpu.map_private_file(X, 1, Prot::ReadWrite, 0);
        cpu.load(X);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.load(X);
        }),
        actor("user", |cpu| {
            cpu.store(X, 2);
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
