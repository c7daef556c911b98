//! A1: reclaim takes a page out of its entry, and writes it to swap before the flush. A CPU that still has a dirty and
//! writable translation stores through it meanwhile; when the page comes back, that store is missing.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A1",
    title: "a page is written to swap before the flush",
    thread: "S1",
    guards: &[Guard::FlushBeforeWrite],
    alike: true,
    invariants: &["I-LOST"],
    // CPU 0 has the translation cached from the beginning.
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
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(2), "I-LOST", "the page lacks the last store"),
    ..Scenario::DEFAULT
};
