//! E1, with tags: a page with tags is to be put out that two processes map. The entries are taken, and then its tags
//! cannot be saved, or the page not written, or already the second entry not counted. Whatever fails, every entry comes
//! back, with the page and its tags, and the slot forgets what was counted.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E1T",
    title: "tags cannot be saved, and the slot keeps its count",
    thread: "S3",
    guards: &[Guard::SlotCountUndone],
    invariants: &["I-SLOT", "I-TAG"],
    failures: true,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_tagged(X, 1, Prot::ReadWrite);
        cpu.set_tag(X, 5);
        cpu.fork();
        cpu.swap_on(2);
    },
    actors: &[
        actor("reclaim", |cpu| {
            cpu.reclaim(1);
        }),
        actor("user", |cpu| {
            cpu.load_tagged(X, 5);
        }),
    ],
    end: |cpu| {
        cpu.load_tagged(X, 5);
        cpu.switch_to(Process(1));
        cpu.load_tagged(X, 5);
    },
    ..Scenario::DEFAULT
};
