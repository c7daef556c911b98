//! E7: a page is in swap, and its mapping goes without bringing it back. Its tags must go with the slot: whoever gets
//! that next would inherit them. And they go before somebody else can have the slot: he would lose his own.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E7",
    title: "tags of an unmapped page stay with its slot",
    thread: "S3",
    guards: &[Guard::TagsFreedWithSlot],
    alike: true,
    invariants: &["I-SLOT", "I-TAG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_tagged(X, 1, Prot::ReadWrite);
        cpu.set_tag(X, 5);
        // Under another leaf: the lock of this one keeps the two apart.
        cpu.map_tagged(Z, 1, Prot::ReadWrite);
        cpu.set_tag(Z, 6);
        cpu.swap_on(2);
        cpu.page_out(X, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            // The page-out's flush is not to interrupt it: a pre-emption less.
            cpu.switch_away();
            cpu.unmap(X, 1);
        }),
        actor("page-out", |cpu| {
            cpu.page_out(Z, 1);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.load_tagged(Z, 6);
    },
    ..Scenario::DEFAULT
};
