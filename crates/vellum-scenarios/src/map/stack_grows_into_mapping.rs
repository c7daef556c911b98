//! G12: a fault below a stack finds room and begins to extend it; before it does, something else is mapped there. What
//! lies below must be looked at again under the claim that keeps others out, or the stack swallows the new mapping.

use vellum_lab::scenario::{At, Prot, Scenario, actor};
use vellum::Guard;

const STACK: At = At(0, 3);
const BELOW: At = At(0, 2);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G12",
    title: "a stack grows into what was mapped meanwhile",
    thread: "S2",
    guards: &[Guard::GrowUnderClaim],
    alike: true,
    invariants: &["I-VMA"],
    start: |cpu| {
        cpu.map_stack(STACK, 1);
    },
    actors: &[
        actor("stack fault", |cpu| {
            cpu.store(BELOW, 1);
        }),
        actor("mmap", |cpu| {
            cpu.map(BELOW, 1, Prot::Read);
        }),
    ],
    end: |cpu| cpu.expect(!cpu.store(BELOW, 2), "I-VMA", "a store to a read-only mapping succeeds"),
    ..Scenario::DEFAULT
};
