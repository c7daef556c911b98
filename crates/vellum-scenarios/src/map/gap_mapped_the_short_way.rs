//! G19, of what maps a page under the lock of its leaf, without a claim: it finds no stack near, and then the stack
//! grows; in its gap the page is mapped nevertheless. Hence it asks under the lock: who grows a stack claims the gap,
//! and waits for that.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Mode, Prot, Scenario, X, actor};
use vellum::Guard;

/// Where the first CPU begins to look for room on a toy.
const GAP: At = At(4, 0);
const BELOW: At = At(4, 1);
const STACK: At = At(4, 2);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G19S",
    title: "a page is mapped in the gap of a stack that grows",
    thread: "S2",
    guards: &[Guard::StackAskedUnderLock],
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-VMA"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.map_stack(STACK, 1);
    },
    actors: &[
        actor("mmap", |cpu| {
            // Not there: anywhere.
            cpu.map_near(X, 1, Prot::ReadWrite);
        }),
        actor("stack fault", |cpu| {
            cpu.store(BELOW, 1);
        }),
    ],
    end: |cpu| cpu.expect(!(cpu.is_mapped(BELOW) && cpu.is_mapped(GAP)), "I-VMA", "no gap is left below the stack"),
    ..Scenario::DEFAULT
};
