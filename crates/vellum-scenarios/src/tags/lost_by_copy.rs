//! E4, of copy on write: parent and child share a page with tags. Who stores first gets a copy, whose tags are those of
//! the page, for both.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E4C",
    title: "a page is copied without its tags",
    thread: "S3",
    guards: &[Guard::CopyTakesTags],
    alike: true,
    invariants: &["I-TAG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_tagged(X, 1, Prot::ReadWrite);
        cpu.set_tag(X, 5);
        cpu.fork();
    },
    actors: &[
        actor("parent", |cpu| {
            cpu.store_tagged(X, 1, 5);
            cpu.load_tagged(X, 5);
        }),
        actor("child", |cpu| {
            cpu.switch_to(Process(1));
            cpu.store_tagged(X, 2, 5);
            cpu.load_tagged(X, 5);
        }),
    ],
    ..Scenario::DEFAULT
};
