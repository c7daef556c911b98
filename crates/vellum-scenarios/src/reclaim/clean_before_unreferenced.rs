//! I8: reclaim finds that a page was not stored to since it was written to its slot. A device which has a reference
//! stores to it, says so, and lets go; then nobody has the page, and it is freed. Whether a page was stored to is
//! certain only when nobody else can have it any more.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "I8",
    title: "a page is found clean before its references are",
    thread: "S5",
    guards: &[Guard::DirtyAfterFreeze],
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
        cpu.load(X);
        // No flush goes to the device.
        cpu.switch_away();
    },
    actors: &[
        actor("device", |cpu| {
            cpu.transfer_to(X, 5);
        }),
        actor("reclaim", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
