//! E20, beside munmap: the entry is gone, and the slot is in use until its count is dropped.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Known, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E20U",
    title: "swapoff beside munmap gives up",
    known: Some(Known { fault: "W3: swapoff polls for what is on its way, and gives up", breaks: |_| true }),
    invariants: &["I-PROG", "I-ACCESS"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
    },
    actors: &[
        actor("swapoff", |cpu| {
            cpu.swap_off();
        }),
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
