//! A13: a CPU acknowledges a flush before it has flushed. The flusher frees the page; until the other CPU comes to its
//! flush its processor still reaches it.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A13",
    title: "a flush is acknowledged before it is done",
    thread: "S1",
    guards: &[Guard::AcknowledgeLast],
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-TLBFREE", "I-TLBPERM"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("user", |cpu| cpu.speculate(X)),
    ],
    ..Scenario::DEFAULT
};
