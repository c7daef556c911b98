//! B23, where truncation has taken the old page: it has no claim, so a new mapping comes to the place as soon as the
//! leaf's lock is free, and finds nothing there that it would have to flush. So truncation's own flush is under the
//! lock; else the new page appears while a CPU still has the old translation.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B23T",
    title: "a mapping takes the place of a page that was cut off, before that is flushed",
    guards: &[Guard::CutFlushedUnderLock],
    alike: true,
    invariants: &["I-LOST", "I-BBM"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_private_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 1);
    },
    actors: &[
        actor("ftruncate", |cpu| {
            cpu.truncate(0);
        }),
        actor("mmap, user", |cpu| {
            cpu.map(X, 1, Prot::ReadWrite);
            cpu.store(X, 5);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
