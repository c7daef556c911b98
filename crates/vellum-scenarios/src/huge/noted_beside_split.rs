//! C5D: the processor notes in a huge page's entry that it was stored to, when the table for its place has been filled
//! by what the entry said before. The exchange which publishes the table is one of what it was filled by; else all of
//! it is clean.

use crate::programs::{protect_part, unnoted_huge_page};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C5D",
    title: "a huge page's dirty bit is lost by a split",
    thread: "S4",
    guards: &[Guard::SplitRepeated],
    invariants: &["I-DIRTY"],
    // The others have no entry there while the table is filled.
    breaks: |mode| mode.semantics.hardware_dirty && !mode.semantics.mixed_sizes_fault,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: unnoted_huge_page,
    actors: &[
        actor("mprotect", protect_part),
        actor("user", |cpu| {
            cpu.store(Y, 2);
        }),
    ],
    end: |cpu| cpu.expect_dirty(Y),
    ..Scenario::DEFAULT
};
