//! G19: two operations test the gap below a stack at once: one grows the stack, the other maps something below it. Each
//! finds the gap wide enough as the other has left it, and together they close it. Hence who grows a stack claims the
//! gap as well.

use vellum_lab::scenario::{At, Prot, Scenario, actor};
use vellum::Guard;

const STACK: At = At(1, 1);
const BELOW: At = At(1, 0);
/// Where the gap is when the stack has grown: under another table, as operations under one exclude each other anyway.
const GAP: At = At(0, 3);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G19",
    title: "a stack grows while its gap is being mapped",
    thread: "S2",
    guards: &[Guard::GapClaimed],
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
            cpu.map_near(GAP, 1, Prot::ReadWrite);
        }),
    ],
    end: |cpu| cpu.expect(!(cpu.is_mapped(BELOW) && cpu.is_mapped(GAP)), "I-VMA", "no gap is left below the stack"),
    ..Scenario::DEFAULT
};
