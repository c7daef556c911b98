//! C12T: C12 for who takes no reference, and so does not look again: he must see by what he reads that it is a table.
//! Where the discard interrupts him to flush, it waits until he is through, within one pre-emption; a broadcast does
//! not.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C12T",
    title: "a table comes where a huge page was, under a lookup",
    thread: "S4",
    guards: &[Guard::TableSeen],
    invariants: &["I-PTFREE"],
    breaks: |mode| mode.is_broadcast(),
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.use_small_pages();
    },
    actors: &[
        actor("lookup", |cpu| {
            if let Some(frame) = cpu.translate(X) {
                cpu.expect(!cpu.is_table(frame), "I-PTFREE", "the frame of a page table is found");
            }
        }),
        actor("DONTNEED, faults", |cpu| {
            cpu.dont_need(X, LEAF);
            cpu.store(Y, 9);
        }),
    ],
    ..Scenario::DEFAULT
};
