//! J2: a CPU reads the generation from which it starts before it is a target. A flush in between skips it, and the CPU
//! takes what it has cached for as new as that generation.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J2",
    title: "a switch reads the generation before it is a target",
    guards: &[Guard::TargetFirst],
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-GEN", "I-TLBFREE"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.switch_away();
    },
    actors: &[
        actor("switch", |cpu| {
            cpu.switch_to(Process(0));
            cpu.load(X);
        }),
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
