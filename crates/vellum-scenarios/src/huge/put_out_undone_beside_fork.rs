//! E1, of a huge page, beside a fork: its slots take no more entries, there is no table, or one of its pages cannot be
//! written; so the entries get their pages back, one by one. What they had counted at the slots must go.

use crate::programs;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E1H",
    title: "putting out a huge page fails, and its slots keep their counts",
    thread: "S4",
    guards: &[Guard::SlotCountUndone],
    invariants: &["I-SLOT"],
    failures: true,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: programs::huge_page_and_swap,
    actors: &[
        actor("fork", |cpu| {
            cpu.fork();
        }),
        actor("page-out", programs::put_out_huge_page),
    ],
    end: |cpu| {
        cpu.load(Y);
    },
    ..Scenario::DEFAULT
};
