//! C10G: the huge page that shared memory is gathered in is found in the place of the small ones before their contents
//! are there. Who finds it waits for them, as for those of a page that is being read.

use crate::programs::shared_page_to_collapse;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C10G",
    title: "a fault finds shared memory collapsed before it is copied",
    thread: "S4",
    guards: &[Guard::GatheredAwaited],
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: shared_page_to_collapse,
    actors: &[
        actor("user", |cpu| {
            cpu.switch_to(Process(0));
            cpu.load(X);
        }),
        actor("madvise COLLAPSE", |cpu| {
            cpu.collapse(X);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.expect_if_done(cpu.load(X) == Some(1), "I-LOST", "the huge page lacks what was stored");
    },
    ..Scenario::DEFAULT
};
