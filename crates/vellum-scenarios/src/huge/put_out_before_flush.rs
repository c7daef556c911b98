//! A1, of a huge page: all of it goes to swap, and a table of its slots comes in its place. It is written before a CPU
//! that has the translation cached was flushed, which stores through it meanwhile; when the page comes back, that store
//! is missing.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A1H",
    title: "a huge page is written to swap before the flush",
    thread: "S4",
    guards: &[Guard::SwapLeafFlushed],
    invariants: &["I-LOST", "I-TLBFREE", "I-GEN"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(Y, 1);
        cpu.swap_on(8);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.store(Y, 2);
            cpu.load(Y);
        }),
        actor("page-out", |cpu| {
            cpu.page_out(X, 4);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(Y) == Some(2), "I-LOST", "the page lacks the last store"),
    ..Scenario::DEFAULT
};
