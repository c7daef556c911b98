//! B9S: a move has found a huge page and made what that needs to move as a whole, when reclaim, which wants a part of
//! it, cuts it. For small pages there is no leaf at the new place. So nobody who works on a folio cuts one of its huge
//! pages where a range operation is being committed.

use crate::programs::huge_page_and_swap;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Scenario, X, Y, actor};

const NEW: At = At(2, 0);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9S",
    title: "a huge page is cut while it is moved",
    thread: "S4",
    guards: &[Guard::CutWhereNoCommit],
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: huge_page_and_swap,
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(X, LEAF, NEW);
        }),
        actor("page-out of a part", |cpu| {
            cpu.page_out(Y, 1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(At(2, 1)) == Some(1), "I-LOST", "what was moved is not what was stored"),
    ..Scenario::DEFAULT
};
