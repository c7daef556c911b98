//! E4: a page is moved to another frame. Its tags are the frame's, and must be copied with the contents; and that the
//! new frame has tags, too, for when it moves on.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E4",
    title: "a page is moved without its tags",
    thread: "S3",
    guards: &[Guard::MoveTakesTags],
    invariants: &["I-TAG"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_tagged(X, 1, Prot::ReadWrite);
        cpu.set_tag(X, 5);
    },
    actors: &[
        actor("move", |cpu| {
            cpu.migrate(X, 1, 1);
            cpu.migrate(X, 1, 0);
        }),
        actor("user", |cpu| {
            cpu.load_tagged(X, 5);
            cpu.set_tag(X, 6);
            cpu.load_tagged(X, 6);
        }),
    ],
    end: |cpu| {
        cpu.load_tagged(X, 6);
    },
    ..Scenario::DEFAULT
};
