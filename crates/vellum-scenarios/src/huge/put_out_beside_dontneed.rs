//! B4, of a huge page: a table of slots stands in its place, and is not flushed yet. Who discards one of its pages
//! finds that it is in swap, has nothing to flush, and returns; and the program, which has given the page up, still
//! sees it. So the table is locked until the flush is over. Where a flush comes before the table, nobody can find it
//! earlier.

use crate::programs;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B4H",
    title: "DONTNEED relies on the flush of a huge page that goes to swap",
    thread: "S4",
    guards: &[Guard::SwapLeafLocked],
    breaks: |mode| !mode.semantics.mixed_sizes_fault && !mode.semantics.break_before_make,
    invariants: &["I-GONE", "I-LOST", "I-GEN"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: programs::huge_page_and_swap,
    actors: &[
        actor("DONTNEED, user", |cpu| {
            cpu.dont_need(Y, 1);
            cpu.load(Y);
        }),
        actor("page-out", programs::put_out_huge_page),
    ],
    ..Scenario::DEFAULT
};
