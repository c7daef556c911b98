//! F17R, of a huge page of shared memory that moves as a whole: who makes a hole of one page of it has passed by its
//! new place when it comes there. So a move leaves it behind.

use crate::programs::{move_huge_page, shared_huge_page};
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F17RH",
    title: "a moved huge page of shared memory keeps what was in a hole",
    thread: "S4",
    guards: &[Guard::HugeLeftBehind],
    alike: true,
    invariants: &["I-GONE", "I-LOST", "I-RMAP"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: shared_huge_page,
    actors: &[
        actor("mremap", move_huge_page),
        actor("hole", |cpu| {
            // The move's flush is not to interrupt it: less to search.
            cpu.switch_away();
            cpu.punch(0, 1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(0), "I-GONE", "what was stored before the hole was made"),
    ..Scenario::DEFAULT
};
