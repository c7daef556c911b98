//! F14, with a fault that has looked the file's page up long before: then another thread stores to the place, which
//! gets it a private copy; truncation takes that away; and the place is as the fault has found it. It must not show the
//! file's byte to who has stored its own.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F14T",
    title: "an old fault shows the file where truncation took a private copy",
    guards: &[Guard::CutUnderLock],
    alike: true,
    invariants: &["I-LOST", "I-GONE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    further: Some(Bound { preemptions: 2, surprises: 0 }),
    start: |cpu| {
        cpu.map_private_file(X, 2, Prot::ReadWrite, 0);
        cpu.load(X);
        cpu.load(Y);
        cpu.dont_need(Y, 1);
    },
    actors: &[
        actor("two loads", |cpu| {
            cpu.load(Y);
            cpu.load(Y);
        }),
        actor("store, ftruncate", |cpu| {
            cpu.store(Y, 5);
            cpu.truncate(1);
        }),
    ],
    ..Scenario::DEFAULT
};
