//! I8, while a page is on its way to swap: a device which has a reference stores to the page when the swap device has
//! read it, says so, and lets go. If reclaim takes the dirty mark when the write has ended, it takes that of this
//! store, and frees the page.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "I8W",
    title: "a page is marked clean after it was written to swap",
    thread: "S5",
    guards: &[Guard::DirtyClearedFirst],
    alike: true,
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
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
