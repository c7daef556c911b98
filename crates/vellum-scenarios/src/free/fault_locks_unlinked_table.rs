//! B16: a fault finds a table, waits for its lock, and gets it when the table has been unlinked. The table is still
//! readable, as it waits for its grace period; but a page put there is lost.

use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B16",
    title: "a fault locks a table that has been unlinked",
    guards: &[Guard::StaleCheck],
    invariants: &["I-COUNT"],
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise DONTNEED", |cpu| {
            cpu.dont_need(X, 1);
        }),
        actor("fault", |cpu| {
            cpu.store(Y, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
