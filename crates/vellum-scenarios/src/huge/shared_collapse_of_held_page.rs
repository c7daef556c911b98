//! C6G: C6, of shared memory. Its entries are gone, and a device that has looked a page up before has a reference to
//! it. If the page is copied to a huge one all the same, nobody sees what the device stores.

use crate::programs::shared_page_to_collapse;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C6G",
    title: "a page of shared memory is collapsed while somebody holds it",
    thread: "S4",
    guards: &[Guard::GatherFrozen],
    invariants: &["I-LOST", "I-REF", "I-COUNT"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: shared_page_to_collapse,
    actors: &[
        actor("device", |cpu| {
            cpu.write_by_device(X, 2);
        }),
        actor("madvise COLLAPSE", |cpu| {
            cpu.collapse(X);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
