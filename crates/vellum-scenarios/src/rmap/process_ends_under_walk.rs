//! F10: a page's reverse-mapping walk is in the tables of a process that ends. If the process does not wait, the walk
//! reads tables that are freed under its hands.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F10",
    title: "a process ends while a reverse-mapping walk is in it",
    guards: &[Guard::WalksEndFirst],
    alike: true,
    invariants: &["I-PTFREE", "I-UAF", "I-COUNT"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.fork();
    },
    actors: &[
        actor("move_pages", |cpu| {
            cpu.migrate(X, 1, 1);
        }),
        actor("exit", |cpu| cpu.exit(Process(1))),
    ],
    ..Scenario::DEFAULT
};
