//! F1: fork copies the entry of a page that is being moved, and leaves it exclusive. When the move ends, both sides
//! show the page as theirs alone, and each sees what the other stores.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

const CHILD: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F1",
    title: "fork copies an exclusive entry of a page being moved",
    thread: "S3",
    guards: &[Guard::SharedAbsent],
    alike: true,
    invariants: &["I-COW", "I-VMA"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("fork", |cpu| {
            if let Some(Process(child)) = cpu.fork() {
                cpu.note(CHILD, child as u64);
            }
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(X, 1, 1);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(cpu.noted(CHILD) as usize));
        cpu.store(X, 2);
        cpu.switch_to(Process(0));
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
