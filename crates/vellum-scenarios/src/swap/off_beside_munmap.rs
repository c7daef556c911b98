//! E20, beside munmap: the entry is gone, and the slot is in use until its count is dropped.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E20U",
    title: "swapoff beside munmap gives up",
    guards: &[Guard::UnmappedEntryAwaited, Guard::SlotChangeWakes],
    alike: true,
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
