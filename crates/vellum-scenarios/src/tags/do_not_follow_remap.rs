//! E6: a mapping is moved while its page is in swap. Tags that are found by the address from which the page went are
//! not found at the new one; those of a slot go where the entry goes.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E6",
    title: "tags do not follow a mapping that is moved",
    thread: "S3",
    guards: &[Guard::TagsBySlot],
    alike: true,
    invariants: &["I-TAG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_tagged(X, 1, Prot::ReadWrite);
        cpu.set_tag(X, 5);
        cpu.swap_on(1);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(X, 1, Y);
            cpu.load_tagged(Y, 5);
        }),
        actor("page-out", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
