//! B25P: a page of two processes is moved, on behalf of one, while munmap by the other has taken the leaf that shows it
//! there out of the tree. Nobody finds that entry, so the page must count as mapped, and stay; or the entry says
//! already that it is being moved, which nobody takes back, and goes with the leaf.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, TWO_LEAVES, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B25P",
    title: "a page is moved that a detached leaf shows",
    guards: &[Guard::DetachedFlushed],
    invariants: &["I-TLBFREE", "I-LOST", "I-COW"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, TWO_LEAVES, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.fork();
    },
    actors: &[
        actor("parent: munmap", |cpu| {
            cpu.unmap(X, TWO_LEAVES);
        }),
        actor("parent, child: move_pages, parent", |cpu| {
            cpu.load(X);
            cpu.switch_to(Process(1));
            cpu.migrate(X, 1, 1);
            cpu.switch_to(Process(0));
            cpu.load(X);
        }),
    ],
    ..Scenario::DEFAULT
};
