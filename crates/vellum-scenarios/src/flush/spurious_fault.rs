//! A14: rights are granted without a flush. A CPU that still has the old translation faults although the tables allow
//! the access; if the handler only looks at the tables, the CPU faults for ever. Processors that drop a translation
//! when it faults do not need the handler's help.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A14",
    title: "a spurious fault leaves the old translation cached",
    thread: "S1",
    guards: &[Guard::SpuriousFlush],
    breaks: |mode| !mode.semantics.fault_drops_entry,
    invariants: &["I-PROG"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.protect(X, 1, Prot::Read);
    },
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(X, 1, Prot::ReadWrite);
        }),
        actor("user", |cpu| {
            cpu.load(X);
            cpu.store(X, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
