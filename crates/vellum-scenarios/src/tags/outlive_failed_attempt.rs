//! E2: a page goes to its slot with its tags, and comes back at once, since a device holds it; slot and tags stay. Then
//! the user tags it otherwise, and it goes again: the older tags must not stand for it.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E2",
    title: "tags of an attempt at swap outlive it",
    thread: "S3",
    guards: &[Guard::TagsSavedAnew],
    invariants: &["I-TAG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_tagged(X, 1, Prot::ReadWrite);
        cpu.set_tag(X, 1);
        cpu.swap_on(2);
    },
    actors: &[actor("user", |cpu| {
        cpu.while_held(X, || {
            cpu.page_out(X, 1);
        });
        cpu.set_tag(X, 2);
        cpu.page_out(X, 1);
        cpu.load_tagged(X, 2);
    })],
    ..Scenario::DEFAULT
};
