//! F3, as it can happen to a page that a fault prepares: a lockless lookup takes a reference to a frame that has been
//! freed and is another page by now, one that a fault has prepared and then cannot use. Who drops such a page must leave
//! it to whoever has the last reference.

use crate::explore::Bound;
use crate::scenario::{At, Prot, Scenario, X, Z, actor};
use vellum::Guard;

/// A page in the table of Z, which so is there from the beginning.
const BESIDE: At = At(1, 1);

pub(super) static SCENARIO: Scenario = Scenario {
    id: "F3",
    title: "a page is freed while a lookup has a reference",
    guards: &[Guard::DropByCount],
    bound: Bound { preemptions: 3, surprises: 0 },
    invariants: &["I-COUNT"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.map(Z, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(BESIDE, 1);
    },
    actors: &[
        actor("device", |cpu| {
            cpu.read_by_device(X);
        }),
        actor("reuse", |cpu| {
            cpu.unmap(X, 1);
            cpu.store(Z, 9);
        }),
        actor("fault", |cpu| {
            cpu.store(Z, 8);
        }),
    ],
    ..Scenario::DEFAULT
};
