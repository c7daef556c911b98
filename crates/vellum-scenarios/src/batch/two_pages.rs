//! A17: two pages of one leaf are put out with one flush. If that covers the first page alone, a CPU still reaches the
//! second when its frame is free.

use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A17",
    title: "a batch flushes only its first page",
    thread: "S1",
    guards: &[Guard::BatchWidened],
    alike: true,
    invariants: &["I-LOST", "I-TLBFREE"],
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.store(Y, 2);
            cpu.load(Y);
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
