//! B25: munmap takes a leaf out of the tree with what it shows. A page is freed, and used again, while another CPU can
//! still reach it by a cached translation, or by the way to the leaf that it has cached.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, TWO_LEAVES, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B25",
    title: "what a detached leaf shows is freed before the flush",
    guards: &[Guard::DetachedFlushed],
    bound: Bound { preemptions: 1, surprises: 1 },
    invariants: &["I-TLBFREE"],
    start: |cpu| {
        cpu.map(X, TWO_LEAVES, Prot::ReadWrite);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, TWO_LEAVES);
        }),
        actor("user", |cpu| {
            cpu.store(Y, 2);
            cpu.store(Y, 3);
        }),
    ],
    ..Scenario::DEFAULT
};
