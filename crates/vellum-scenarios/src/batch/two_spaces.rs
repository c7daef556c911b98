//! A17, of two spaces: a page that parent and child share is moved, and only the parent's translations are flushed. The
//! child still reads the old frame, which is free. A CPU that switches from one to the other has two requests to
//! answer.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A17S",
    title: "a batch flushes only its first space",
    thread: "S1",
    guards: &[Guard::EachSpaceOwed],
    alike: true,
    invariants: &["I-TLBFREE"],
    nodes: 2,
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        if let Some(child) = cpu.fork() {
            cpu.switch_to(child);
            cpu.load(X);
            cpu.switch_to(Process(0));
        }
    },
    actors: &[
        // In between it is a target for the sake of both.
        actor("user of the parent, then of the child", |cpu| {
            cpu.switch_to(Process(1));
        }),
        // It looks at the child afterwards.
        actor("move_pages", |cpu| {
            cpu.switch_to(Process(1));
            cpu.migrate(X, 1, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
