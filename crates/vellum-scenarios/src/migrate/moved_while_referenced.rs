//! F2: a page's frame is replaced while a device has a reference to it. What the device stores to the old frame
//! afterwards, nobody sees.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F2",
    title: "a page is moved while somebody has a reference to it",
    guards: &[Guard::MoveCounted],
    invariants: &["I-LOST"],
    nodes: 2,
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("device, user", |cpu| {
            cpu.write_by_device(X, 2);
            cpu.load(X);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(X, 1, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
