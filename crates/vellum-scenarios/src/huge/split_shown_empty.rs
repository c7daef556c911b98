//! C5: a table takes the place of a huge page before it is filled. Who comes upon it finds nothing, and gets another
//! page; what was there is lost.

use crate::programs::{huge_page, protect_part};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C5",
    title: "the table in the place of a huge page is empty at first",
    thread: "S4",
    guards: &[Guard::SplitFilledFirst],
    invariants: &["I-LOST", "I-REF", "I-COUNT"],
    breaks: |mode| !mode.semantics.mixed_sizes_fault,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: huge_page,
    actors: &[
        actor("mprotect", protect_part),
        actor("user", |cpu| {
            cpu.speculate(X);
            cpu.load(X);
            cpu.store(X, 2);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
