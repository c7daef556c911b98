//! J5: a CPU gives one of its few identifiers to another space, which happens to be at the same generation, and takes
//! the translations of the old space for its own.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J5",
    title: "an identifier is reused, and what it tags is kept",
    guards: &[Guard::IdentityCompared],
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        // A CPU of the toy has two identifiers.
        cpu.new_process();
        cpu.new_process();
        cpu.switch_to(Process(1));
    },
    actors: &[
        actor("switch", |cpu| {
            cpu.switch_to(Process(2));
            cpu.load(X);
        }),
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
