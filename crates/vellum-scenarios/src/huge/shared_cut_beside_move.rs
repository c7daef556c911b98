//! F11R, of a huge page of shared memory that moves as a whole: truncation has passed by its new place when it comes
//! there. So a move leaves behind one of which a part is being cut off.

use crate::programs::{move_huge_page, shared_huge_page};
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F11RH",
    title: "a moved huge page of shared memory is kept when it is cut off",
    thread: "S4",
    guards: &[Guard::HugeLeftBehind],
    alike: true,
    invariants: &["I-GONE", "I-LOST", "I-RMAP"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: shared_huge_page,
    actors: &[
        actor("mremap", move_huge_page),
        actor("ftruncate", |cpu| {
            // The move's flush is not to interrupt it: less to search.
            cpu.switch_away();
            cpu.truncate(0);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X).is_none(), "I-GONE", "a load beyond the end of the memory"),
    ..Scenario::DEFAULT
};
