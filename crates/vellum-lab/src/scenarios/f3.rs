//! F3, as it can happen to a page that a fault prepares: a lockless lookup takes a reference to a frame that has been
//! freed and is another page by now, one that a fault has prepared and then cannot use. Who drops such a page must leave
//! it to whoever has the last reference.

use crate::explore::Bound;
use crate::scenario::{Mode, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(super) static SCENARIO: Scenario = Scenario {
    id: "F3",
    title: "a page is freed while a lookup has a reference",
    guards: &[Guard::DropByCount],
    runs: Mode::is_broadcast,
    bound: Bound { preemptions: 3, surprises: 0 },
    invariants: &["I-REF"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("device", |cpu| {
            cpu.read_by_device(X);
        }),
        actor("reuse", |cpu| {
            cpu.unmap(X, 1);
            cpu.store(Y, 9);
        }),
        actor("fault", |cpu| {
            cpu.store(Y, 8);
        }),
    ],
    ..Scenario::DEFAULT
};
