//! G12, of a stack whose lowest page goes: a fault below the stack finds where it begins, and claims up to there;
//! before that, the page it has found is unmapped. Under the claim there is no stack, and yet there is one, which
//! begins a page higher and may grow as far. Whether the fault or the unmapping comes first, the store is one to the
//! stack.

use vellum_lab::scenario::{At, Scenario, actor};
use vellum::Guard;

const STACK: At = At(1, 2);
const BELOW: At = At(1, 1);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G12M",
    title: "a stack is not found whose lowest page goes",
    thread: "S2",
    guards: &[Guard::StackSoughtAgain],
    alike: true,
    invariants: &["I-ACCESS"],
    start: |cpu| {
        cpu.map_stack(STACK, 2);
    },
    actors: &[
        actor("stack fault", |cpu| {
            cpu.expect_if_done(cpu.store(BELOW, 1), "I-ACCESS", "a signal for a store just below a stack");
        }),
        actor("munmap", |cpu| {
            cpu.unmap(STACK, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
