//! J6: identifiers run out and are given out anew. A CPU must not use what it cached under one for a space that has
//! got it since; and a space that a CPU runs must keep the one it runs with, or later flushes name another.

use vellum_lab::scenario::{Mode, Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J6",
    title: "a rollover of global identifiers",
    guards: &[Guard::RolloverFlush, Guard::RolloverReserve],
    // Others have so many identifiers that no rollover comes.
    runs: |mode| mode == Mode::BROADCAST,
    invariants: &["I-LOST", "I-TLBFREE"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        // The toy has four identifiers. What the CPU caches of process 1 has the second.
        for _ in 1..5 {
            cpu.new_process();
        }
        cpu.switch_to(Process(1));
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 2);
        cpu.switch_to(Process(2));
        cpu.switch_to(Process(3));
    },
    actors: &[
        actor("switch, munmap", |cpu| {
            cpu.switch_to(Process(4));
            cpu.load(X);
            // Process 1 has to get another one now: process 4 has its.
            cpu.map(X, 1, Prot::ReadWrite);
            cpu.store(X, 4);
            cpu.switch_to(Process(1));
            cpu.load(X);
            cpu.switch_to(Process(0));
            cpu.unmap(X, 1);
        }),
        actor("user", |cpu| cpu.speculate(X)),
    ],
    ..Scenario::DEFAULT
};
