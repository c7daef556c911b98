//! F2, of a page of a file: it gets a new frame, where others find it at once. If that passes for up to date before the
//! contents have been copied, a fault shows what was in the frame instead.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F2S",
    title: "a file's page is shown at its new place before it is copied",
    guards: &[Guard::CopiedBeforeShown],
    alike: true,
    invariants: &["I-LOST"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    further: Some(Bound { preemptions: 2, surprises: 0 }),
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 7);
        cpu.map_file(Z, 1, Prot::Read, 0);
    },
    actors: &[
        actor("move_pages", |cpu| {
            cpu.migrate(X, 1, 1);
        }),
        actor("user", |cpu| {
            cpu.load(Z);
        }),
    ],
    ..Scenario::DEFAULT
};
