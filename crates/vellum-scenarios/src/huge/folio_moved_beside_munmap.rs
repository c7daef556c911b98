//! C14: a huge page is being moved, and says so, while a part of it is stored to, and another unmapped, for which a table comes in
//! its place. A table of what says that its pages are being moved is found by who puts them where they go, beside a flush that is
//! owed to the table above.

use crate::programs::huge_page;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C14",
    title: "a huge page that is being moved is cut",
    thread: "S4",
    guards: &[Guard::FlushBeforeCopy],
    invariants: &["I-LOST", "I-TLBFREE", "I-GONE"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: huge_page,
    actors: &[
        actor("munmap", |cpu| {
            cpu.store(X, 2);
            cpu.unmap(Y, 1);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(X, 4, 1);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
