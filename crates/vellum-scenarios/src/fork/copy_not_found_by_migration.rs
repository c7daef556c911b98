//! F1, the other half: fork copies entries to a leaf that does not hang in the child's tables yet. A migration does not
//! find them there: one that begins meanwhile fails, and when one ends, the child's page is being moved for ever.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F1B",
    title: "a migration does not find fork's copy",
    guards: &[Guard::HungFirst],
    alike: true,
    invariants: &["I-PROG", "I-RMAP", "I-COUNT"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("fork", |cpu| {
            cpu.fork();
        }),
        // The recount at the end finds entries that say a page is being moved.
        actor("move_pages", |cpu| {
            let moved = cpu.migrate(X, 1, 1);
            cpu.expect_if_done(moved == 1, "I-RMAP", "an entry that shows the page is not found");
        }),
    ],
    ..Scenario::DEFAULT
};
