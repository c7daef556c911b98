//! F18: a process ends that has one child, whose place in the line comes up to where its own was. A walk is at the
//! child: it has found no brothers there. If it goes up from the new place, it passes by the brothers of the process
//! that has ended, and does not find their entries.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F18",
    title: "a walk passes by the brothers of a process that ends",
    guards: &[Guard::SiblingsSoughtAgain],
    invariants: &["I-RMAP", "I-COUNT"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        // Two generations that have ended leave names to the next that come, whose own places need not stay then.
        cpu.fork();
        cpu.switch_to(Process(1));
        cpu.fork();
        cpu.switch_to(Process(2));
        cpu.fork();
        cpu.switch_to(Process(3));
        cpu.exit(Process(1));
        cpu.exit(Process(2));
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        // The elder brother, then the one that ends and is not concerned, then its child.
        cpu.fork();
        cpu.fork();
        cpu.switch_to(Process(5));
        cpu.fork();
        cpu.unmap(X, 1);
        cpu.switch_to(Process(3));
    },
    actors: &[
        actor("move_pages", |cpu| {
            cpu.switch_to(Process(3));
            let moved = cpu.migrate(X, 1, 1);
            cpu.expect_if_done(moved == 1, "I-RMAP", "an entry that shows the page is not found");
        }),
        actor("exit", |cpu| cpu.exit(Process(5))),
    ],
    ..Scenario::DEFAULT
};
