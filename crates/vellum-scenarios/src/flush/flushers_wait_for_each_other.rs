//! J13: two CPUs flush at once, both with interrupts off: each waits for the other to answer, and neither takes the
//! interrupt that asks it to.

use vellum_lab::scenario::{Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J13",
    title: "two flushers wait for each other with interrupts off",
    guards: &[Guard::ServeWhileFlushing],
    alike: true,
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-PROG"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.map(Z, 2, Prot::ReadWrite);
        cpu.store(Z, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.with_interrupts_off(|| cpu.unmap(X, 1));
        }),
        actor("munmap", |cpu| {
            cpu.with_interrupts_off(|| cpu.unmap(Z, 1));
        }),
    ],
    ..Scenario::DEFAULT
};
