//! E8: a page comes back from swap for a store. Its slot is of no use any more, and is freed; if its tags are looked
//! for only after that, they are gone. Before that, another thread sees the page without them.

use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E8",
    title: "a slot is freed before its tags are restored",
    thread: "S3",
    guards: &[Guard::TagsBeforeSlotFree],
    invariants: &["I-TAG"],
    start: |cpu| {
        cpu.map_tagged(X, 2, Prot::ReadWrite);
        cpu.set_tag(X, 5);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
        // Takes the frame, which still has those tags.
        cpu.store(Y, 1);
    },
    actors: &[
        actor("writer", |cpu| {
            cpu.store_tagged(X, 1, 5);
        }),
        actor("reader", |cpu| {
            cpu.load_tagged(X, 5);
        }),
    ],
    ..Scenario::DEFAULT
};
