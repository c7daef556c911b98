//! A19: reclaim takes two pages out of a leaf with one flush. A fault in that leaf flushes it, after the first was
//! taken; then reclaim takes the second. Whoever unmaps that has to flush again: the first flush came before it was
//! taken, and a CPU has read its translation since.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Prot, Scenario, X, Y, Z, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A19",
    title: "a flush for a batch counts for what it takes later",
    thread: "S1",
    guards: &[Guard::TakenSinceSettled],
    invariants: &["I-GONE", "I-TLBPERM"],
    bound: Bound { preemptions: 1, surprises: 1 },
    // Who flushes by broadcast waits for nobody, and the other CPU would have to be pre-empted once more. Of the other
    // modes one is enough: what marks processors set makes no difference, and the search is long.
    runs: |mode| !mode.is_broadcast() && !mode.semantics.hardware_accessed,
    start: |cpu| {
        cpu.map_file(X, 2, Prot::Read, 0);
        cpu.map(At(0, 2), 1, Prot::ReadWrite);
        cpu.map(Z, 1, Prot::ReadWrite);
        cpu.load(X);
        cpu.load(Y);
        cpu.store(Z, 1);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.store(At(0, 2), 1);
            cpu.load(Y);
            // Waits for the other CPU, which goes on meanwhile.
            cpu.protect(Z, 1, Prot::Read);
            cpu.unmap(Y, 1);
            let is_there = cpu.load(Y).is_some();
            cpu.expect_if_done(!is_there, "I-GONE", "a load of a page that munmap has removed");
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
