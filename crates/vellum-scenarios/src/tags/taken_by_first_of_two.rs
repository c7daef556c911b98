//! E5: parent and child have a tagged page in one slot. The parent takes it back, and it goes out again, clean: the
//! slot has its contents already. The child, which comes next, needs the tags from there: they must have stayed, and
//! belong to the slot, not to the parent's address.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E5",
    title: "the first of two processes takes the tags along",
    thread: "S3",
    guards: &[Guard::TagsKept, Guard::TagsBySlot],
    alike: true,
    invariants: &["I-TAG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_tagged(X, 1, Prot::ReadWrite);
        cpu.set_tag(X, 5);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
        cpu.fork();
    },
    actors: &[
        actor("parent", |cpu| {
            cpu.load_tagged(X, 5);
            cpu.page_out(X, 1);
        }),
        actor("child", |cpu| {
            cpu.switch_to(Process(1));
            cpu.load_tagged(X, 5);
        }),
    ],
    ..Scenario::DEFAULT
};
