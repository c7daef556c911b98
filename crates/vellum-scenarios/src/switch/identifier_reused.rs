//! J5: a CPU gives one of its few identifiers to another space, which happens to be at the same generation, and takes
//! the translations of the old space for its own. Or it takes the old space's generation for the new one's, and a later
//! flush for done.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J5",
    title: "an identifier is reused, and what it tags is kept",
    guards: &[Guard::IdentityCompared],
    alike: true,
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-LOST", "I-TLBPERM"],
    start: |cpu| {
        for _ in 1..4 {
            cpu.new_process();
        }
        cpu.switch_to(Process(3));
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 3);
        // A CPU of the toy has two identifiers. One is of a process with many flushes behind it, the other of one with
        // none.
        cpu.switch_to(Process(1));
        for _ in 0..3 {
            cpu.map(X, 1, Prot::ReadWrite);
            cpu.store(X, 1);
            cpu.unmap(X, 1);
        }
        cpu.switch_to(Process(0));
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("switch, and again", |cpu| {
            cpu.switch_to(Process(3));
            cpu.load(X);
            cpu.switch_to(Process(2));
            cpu.load(X);
        }),
        actor("switch, munmap", |cpu| {
            cpu.switch_to(Process(3));
            cpu.unmap(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
