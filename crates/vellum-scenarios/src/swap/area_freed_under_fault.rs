//! E13: a thread has read an entry, and looks at the slot that it names. Meanwhile swapoff brings the page back, finds
//! no slot in use, and frees the area. Whoever is inside the core is waited for first.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E13",
    title: "swapoff frees an area that a fault is looking at",
    guards: &[Guard::GracePeriod],
    alike: true,
    invariants: &["I-PTFREE"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.load(X);
        }),
        actor("swapoff", |cpu| {
            cpu.swap_off();
        }),
    ],
    ..Scenario::DEFAULT
};
