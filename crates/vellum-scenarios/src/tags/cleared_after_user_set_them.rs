//! E9: a page of memory with tags is new, and its frame has tags of whatever it was used for before. They are cleared
//! before an entry shows the page; later, they could be those that another thread has set meanwhile.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E9",
    title: "tags are cleared that a user has set",
    thread: "S3",
    guards: &[Guard::TagsBeforeMapping],
    invariants: &["I-TAG"],
    start: |cpu| {
        cpu.map_tagged(X, 1, Prot::ReadWrite);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.populate(X, 1);
        }),
        actor("user", |cpu| {
            cpu.set_tag(X, 5);
            cpu.load_tagged(X, 5);
        }),
    ],
    ..Scenario::DEFAULT
};
