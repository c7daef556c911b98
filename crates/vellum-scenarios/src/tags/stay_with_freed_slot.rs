//! E7: a page is in swap, and its mapping goes without bringing it back. Its tags must go with the slot: whoever gets
//! that next would inherit them.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E7",
    title: "tags of an unmapped page stay with its slot",
    thread: "S3",
    guards: &[Guard::TagsFreedWithSlot],
    invariants: &["I-SLOT"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_tagged(X, 1, Prot::ReadWrite);
        cpu.set_tag(X, 5);
        cpu.swap_on(1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("page-out", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
