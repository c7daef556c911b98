//! A15: mprotect takes a right away and leaves the flush out: stores go on through the old translation after it has
//! returned. Which changes need a flush is a table of old and new rights; `tests/flush_rule.rs` walks all of it.

use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A15",
    title: "mprotect takes a right away without a flush",
    thread: "S1",
    guards: &[Guard::RevokeFlush],
    alike: true,
    invariants: &["I-TLBPERM"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(X, 2, Prot::Read);
        }),
        actor("user", |cpu| {
            cpu.store(X, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
