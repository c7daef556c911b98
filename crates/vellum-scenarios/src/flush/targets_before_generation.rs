//! J8: a flusher looks who the targets are before it increments the generation. A CPU that switches in between is not
//! among them, and still finds the old generation.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J8",
    title: "a flusher reads the targets before the generation is new",
    guards: &[Guard::GenerationFirst],
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
