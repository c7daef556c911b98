//! G2, a level up: a mapping covers all of a leaf, which does not exist. A fault reads what the mapping is, without a
//! lock, and prepares a leaf that says the same. If it does not look again under the lock of the table above, it brings
//! back a mapping that has been replaced.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G2M",
    title: "a fault makes a table of a mapping that has been replaced",
    thread: "S2",
    guards: &[Guard::RecheckAbove],
    invariants: &["I-VMA", "I-COUNT"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.store(X, 1);
        }),
        actor("mmap", |cpu| {
            cpu.map(X, LEAF, Prot::Read);
        }),
    ],
    end: |cpu| cpu.expect(!cpu.store(X, 3), "I-VMA", "a store to a mapping that has been replaced"),
    ..Scenario::DEFAULT
};
