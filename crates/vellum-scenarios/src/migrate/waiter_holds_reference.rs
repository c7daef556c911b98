//! F6: a fault waits for a page that is being moved. If it takes a reference to the page for that, the page is one that
//! somebody else uses, and stays where it is, as often as this is tried.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F6",
    title: "who waits for a page keeps it from being moved",
    guards: &[Guard::WaitWithoutReference],
    alike: true,
    invariants: &["I-PROG"],
    nodes: 2,
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("move_pages", |cpu| {
            let moved = cpu.migrate(X, 1, 1);
            cpu.expect_if_done(moved == 1, "I-PROG", "a page is not moved although nobody uses it");
        }),
        actor("user", |cpu| {
            cpu.load(X);
        }),
    ],
    ..Scenario::DEFAULT
};
