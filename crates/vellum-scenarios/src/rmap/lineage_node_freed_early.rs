//! F9: a process that has made pages ends, and a child of it still has them. They bear the name of its place in the
//! line; if that goes with the process, and another process gets its memory, the pages cannot be found any more.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F9",
    title: "a page names an ended process whose child lives",
    guards: &[Guard::NodesOutliveSpaces],
    invariants: &["I-RMAP", "I-UAF", "I-PTFREE"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.fork();
        cpu.switch_to(Process(1));
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.fork();
        cpu.switch_to(Process(2));
        cpu.exit(Process(1));
        cpu.quiesce();
        cpu.quiesce();
        cpu.new_process();
    },
    actors: &[actor("move_pages", |cpu| {
        cpu.switch_to(Process(2));
        let moved = cpu.migrate(X, 1, 1);
        cpu.expect_if_done(moved == 1, "I-RMAP", "the entry that shows the page is not found");
    })],
    ..Scenario::DEFAULT
};
