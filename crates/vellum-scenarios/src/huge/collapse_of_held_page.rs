//! C6: a page is copied to a huge one while a device has a reference to it. What the device stores to the old frame,
//! nobody sees. It has looked the page up without a lock: by an entry that the collapse takes out of the tree as it is.
//! So its references count only when the way to that entry is gone, and whoever takes one looks for the entry again.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Process, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C6",
    title: "a page is collapsed while somebody holds it",
    thread: "S4",
    guards: &[Guard::CollapseCounted, Guard::CollapseCountsLast, Guard::TranslateRecheck],
    alike: true,
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        // No flush goes to the device.
        cpu.switch_away();
    },
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
