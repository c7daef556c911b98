//! A6: migration copies a page before the flush. What a CPU stores to the old frame by a translation that it still has
//! is not in the new one.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A6",
    title: "a page is copied to its new frame before the flush",
    thread: "S1",
    guards: &[Guard::FlushBeforeCopy],
    alike: true,
    invariants: &["I-LOST"],
    nodes: 2,
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.store(X, 2);
            cpu.load(X);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(X, 1, 1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(2), "I-LOST", "the page lacks the last store"),
    ..Scenario::DEFAULT
};
