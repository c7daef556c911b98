//! C12S: while a huge page is no entry, to become a table, somebody looks an address in it up without a lock. Nothing
//! is there, and the page is mapped all the time: he waits for who has the lock, who needs nothing from him.

use crate::programs::{huge_page, protect_part};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C12S",
    title: "a lookup finds nothing while a huge page is split",
    thread: "S4",
    guards: &[Guard::SplittingAwaited],
    invariants: &["I-ACCESS"],
    breaks: |mode| mode.semantics.mixed_sizes_fault,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: huge_page,
    actors: &[
        actor("mprotect", protect_part),
        actor("device", |cpu| {
            let read = cpu.read_by_device(X);
            cpu.expect(read == Some(1), "I-ACCESS", "nothing is found where a page is all the time");
        }),
    ],
    ..Scenario::DEFAULT
};
