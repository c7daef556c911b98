//! A9: a batch begins its broadcasts and does not wait for them, or another CPU does, which waits for its own only. The
//! page is freed while a CPU can still reach it.

use vellum_lab::scenario::{Mode, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A9",
    title: "a batch does not wait for its broadcasts",
    thread: "S1",
    guards: &[Guard::BatchAwaitsBroadcast],
    runs: Mode::is_broadcast,
    invariants: &["I-LOST", "I-TLBFREE"],
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.store(X, 2);
            cpu.load(X);
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
