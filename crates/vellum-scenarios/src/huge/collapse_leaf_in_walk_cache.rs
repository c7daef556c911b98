//! B12C, as B12: a leaf in whose place a huge page is shown is freed while another CPU's paging-structure cache still
//! leads to it. All its pages were flushed, but the way to them was not.

use vellum::Guard;
use vellum_lab::scenario::{At, LEAF, Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B12C",
    title: "a collapsed leaf is freed without a flush of the upper entries",
    thread: "S4",
    guards: &[Guard::TablesFlushed],
    alike: true,
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-PTFREE"],
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.map(At(2, 0), 1, Prot::ReadWrite);
        cpu.store(At(2, 0), 1);
    },
    actors: &[
        actor("lazy", |cpu| {
            cpu.load(X);
            cpu.enter_lazy();
            cpu.speculate(Y);
        }),
        actor("madvise COLLAPSE", |cpu| {
            cpu.collapse(X);
            (0..3).for_each(|_| cpu.quiesce());
        }),
    ],
    ..Scenario::DEFAULT
};
