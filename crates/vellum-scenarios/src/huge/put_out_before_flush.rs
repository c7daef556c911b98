//! A1, of a huge page: all of it goes to swap, and a table of its slots comes in its place. It is written before a CPU
//! that has the translation cached was flushed, which stores through it meanwhile; when the page comes back, that store
//! is missing.

use crate::programs;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A1H",
    title: "a huge page is written to swap before the flush",
    thread: "S4",
    guards: &[Guard::SwapLeafFlushed],
    invariants: &["I-LOST", "I-TLBFREE", "I-GEN"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: programs::huge_page_and_swap,
    actors: &[
        actor("user", |cpu| {
            cpu.store(Y, 2);
            cpu.load(Y);
        }),
        actor("page-out", programs::put_out_huge_page),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(Y) == Some(2), "I-LOST", "the page lacks the last store"),
    ..Scenario::DEFAULT
};
