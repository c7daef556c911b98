//! B1: a zapped frame is freed, and used again, while another CPU can still reach it by a cached translation.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B1",
    title: "zap frees a frame before the flush",
    thread: "S1",
    guards: &[Guard::FlushBeforeFree],
    alike: true,
    invariants: &["I-TLBFREE"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("user", |cpu| {
            cpu.store(X, 2);
            cpu.store(X, 3);
        }),
    ],
    ..Scenario::DEFAULT
};
