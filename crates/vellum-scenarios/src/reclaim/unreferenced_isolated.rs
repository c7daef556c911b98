//! I9: reclaim goes over the frames, and takes a reference to a page of which the last reference has just been dropped.
//! Both free it.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "I9",
    title: "a page without references is taken aside",
    thread: "S5",
    guards: &[Guard::IsolateCounted],
    alike: true,
    invariants: &["I-COUNT", "I-REF", "I-ASSERT"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("reclaim", |cpu| {
            cpu.reclaim(1);
        }),
    ],
    ..Scenario::DEFAULT
};
