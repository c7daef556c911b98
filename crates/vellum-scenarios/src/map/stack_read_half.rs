//! G12, of a stack whose table changes: a fault below the stack looks for it while a mapping in the same table goes,
//! and what it reads of the table's classes, half before and half after, has no stack. The program gets a signal for a
//! store to its own stack. What is read without the lock counts only if the sequence number is still the same.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Prot, Scenario, actor};
use vellum::Guard;

const STACK: At = At(1, 3);
const BELOW: At = At(1, 2);
/// The end of what goes is in the stack's table, its begin in the one before.
const OTHER: At = At(0, 3);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G12R",
    title: "a stack is not found while its neighbour goes",
    thread: "S2",
    guards: &[Guard::SpanReread],
    invariants: &["I-ACCESS"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(OTHER, 2, Prot::ReadWrite);
        cpu.map_stack(STACK, 1);
    },
    actors: &[
        actor("stack fault", |cpu| {
            cpu.expect_if_done(cpu.store(BELOW, 1), "I-ACCESS", "a signal for a store just below a stack");
        }),
        actor("munmap", |cpu| {
            cpu.unmap(OTHER, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
