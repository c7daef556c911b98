//! C6S: a huge page becomes small ones, and a processor that may not have translations of two sizes for one address
//! walks to a small one before it has forgotten the large one. (The other way round, the small pages are collapsed:
//! C6.)

use crate::programs::{protect_part, unnoted_huge_page};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C6S",
    title: "a TLB has both a huge page and the small ones in its place",
    thread: "S4",
    guards: &[Guard::SplitBreakBeforeMake],
    invariants: &["I-BBM"],
    // The others do not walk for what they have cached.
    breaks: |mode| mode.semantics.mixed_sizes_fault && mode.semantics.hardware_dirty,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: unnoted_huge_page,
    actors: &[
        actor("mprotect", protect_part),
        actor("user", |cpu| {
            cpu.load(X);
            // Through a clean entry: the processor walks.
            cpu.store(Y, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
