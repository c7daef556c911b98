//! F8: two move lists of pages, in different orders. Each has the folio lock of a page and waits for the one that the
//! other has.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Prot, Scenario, X, Y, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F8",
    title: "two migrations wait for each other's pages",
    guards: &[Guard::LocksTried],
    alike: true,
    // Who waits for a lock in a batch sleeps with pre-emption off, which is found first.
    invariants: &["I-PROG", "I-ATOMIC"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 2, Prot::Read, 0);
        cpu.map_file(Z, 1, Prot::Read, 1);
        cpu.map_file(At(1, 1), 1, Prot::Read, 0);
        [X, Y, Z, At(1, 1)].into_iter().for_each(|at| {
            cpu.load(at);
        });
    },
    actors: &[
        actor("move_pages", |cpu| {
            cpu.migrate(X, 2, 1);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(Z, 2, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
