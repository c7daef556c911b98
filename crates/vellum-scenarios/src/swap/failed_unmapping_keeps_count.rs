//! E1: a page is to be put out that two processes map. The second entry cannot be taken, as its slot takes no more of
//! them, or the page cannot be written; so all entries are put back. What they had counted at the slot must go, too, or
//! the slot is never free again.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E1",
    title: "unmapping fails, and the slot keeps its count",
    thread: "S3",
    guards: &[Guard::SlotCountUndone],
    invariants: &["I-SLOT"],
    failures: true,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.fork();
        cpu.swap_on(2);
    },
    actors: &[actor("reclaim", |cpu| {
        cpu.reclaim(1);
    })],
    ..Scenario::DEFAULT
};
