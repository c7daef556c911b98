//! G2, a level up: a mapping covers all of a leaf, which does not exist. Two faults find none, and each prepares one.
//! Who comes second must look again under the lock of the table above; otherwise he hangs his leaf over the other's,
//! whose page is lost.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G2T",
    title: "a fault makes a table where there is one by now",
    thread: "S2",
    guards: &[Guard::RecheckAbove],
    invariants: &["I-TLBPERM", "I-BBM", "I-LOST", "I-COUNT"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.store(X, 1);
        }),
        actor("another fault", |cpu| {
            cpu.store(Y, 2);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
        cpu.load(Y);
    },
    ..Scenario::DEFAULT
};
