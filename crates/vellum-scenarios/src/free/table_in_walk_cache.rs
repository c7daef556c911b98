//! B12: a page table is freed while another CPU's paging-structure cache still leads to it: that CPU walks freed
//! memory. The table is empty, so that no page's flush covers for the missing one.

use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B12",
    title: "a table is freed without a flush of the upper entries",
    thread: "S1",
    guards: &[Guard::TablesFlushed],
    alike: true,
    invariants: &["I-PTFREE"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.dont_need(X, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
            (0..3).for_each(|_| cpu.quiesce());
        }),
        actor("user", |cpu| {
            cpu.speculate(X);
            cpu.speculate(Y);
        }),
    ],
    ..Scenario::DEFAULT
};
