//! C4S: the same where the entry says for a while that the page is being split: what the processor has noted up to that
//! moment comes back from the exchange.

use crate::programs::{protect_part, unnoted_huge_page};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C4S",
    title: "a huge page's dirty bit is lost when its entry becomes none",
    thread: "S4",
    guards: &[Guard::ChangeRepeated],
    invariants: &["I-DIRTY"],
    breaks: |mode| mode.semantics.hardware_dirty && mode.semantics.mixed_sizes_fault,
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
