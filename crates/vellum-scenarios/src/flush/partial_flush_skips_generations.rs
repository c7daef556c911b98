//! J7: of two flushes of different pages the later reaches a CPU first. If it flushes its page and takes note of its
//! own generation, the earlier seems to be done, and its page stays cached.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J7",
    title: "a partial flush advances the generation too far",
    guards: &[Guard::GenerationGap],
    alike: true,
    runs: |mode| !mode.is_broadcast(),
    bound: Bound { preemptions: 1, surprises: 1 },
    invariants: &["I-GEN", "I-TLBFREE"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.map(Z, 2, Prot::ReadWrite);
        cpu.store(Z, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("munmap", |cpu| {
            cpu.unmap(Z, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
