//! F4, of a move that fails: munmap in the child has taken its entry and still counts as a mapping, so the move finds
//! too few and gives up. The parent's entry, which says by now that the page is being moved, must be put back: nobody
//! else will do it.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F4U",
    title: "a move that fails leaves entries that say the page is being moved",
    guards: &[Guard::FailedUnmapUndone],
    alike: true,
    invariants: &["I-RMAP", "I-COUNT"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        if let Some(child) = cpu.fork() {
            cpu.switch_to(child);
            cpu.load(X);
        }
    },
    actors: &[
        actor("munmap in the child", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(X, 1, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
