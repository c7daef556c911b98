//! B1H: a huge page that was unmapped is freed, and used again, while another CPU can still reach its pages by a
//! translation of all of it.

use crate::programs::huge_page;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B1H",
    title: "a huge page is freed before the flush",
    thread: "S4",
    guards: &[Guard::FlushBeforeFree],
    invariants: &["I-TLBFREE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: huge_page,
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, LEAF);
        }),
        actor("user", |cpu| {
            cpu.store(X, 2);
            cpu.store(Y, 3);
        }),
    ],
    ..Scenario::DEFAULT
};
