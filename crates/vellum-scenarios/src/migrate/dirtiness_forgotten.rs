//! F5: a page of which swap has a copy is stored to, then moved. If the move forgets what the entry said of that
//! store, the page passes for clean afterwards: reclaim drops it, and the old copy comes back.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F5",
    title: "a move forgets that a page was stored to",
    guards: &[Guard::DirtyMoves],
    invariants: &["I-LOST", "I-DIRTY"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        // It comes back clean and writable, and keeps its slot.
        cpu.page_out(X, 1);
        cpu.load(X);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.store(X, 2);
            // A mark without the right to store is one, too.
            cpu.protect(X, 1, Prot::Read);
        }),
        actor("move_pages, pageout", |cpu| {
            cpu.migrate(X, 1, 1);
            cpu.page_out(X, 1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(2), "I-LOST", "the page lacks the last store"),
    ..Scenario::DEFAULT
};
