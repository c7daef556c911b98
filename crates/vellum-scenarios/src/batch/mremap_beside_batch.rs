//! A4, with mremap: the page of the file is gone from its entry, so nothing moves. The flush that the batch still owes
//! is paid twice, by the move and by the removal of the old place; with neither, the program reaches the page there
//! after mremap has returned. The removal alone is enough: nobody may map anything at the old place before it, and
//! reclaim frees the page after its own flush.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A4M",
    title: "mremap relies on a flush that a batch still owes",
    thread: "S1",
    guards_redundant: &[Guard::SettledByMove, Guard::SettledByZap],
    invariants: &["I-GONE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::Read, 0);
        cpu.load(X);
        // So that the leaf is not given back, with a flush of its own.
        cpu.map(Y, 1, Prot::ReadWrite);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("mremap, user", |cpu| {
            let is_done = cpu.remap(X, 1, Z);
            cpu.expect(!is_done || cpu.load(X).is_none(), "I-GONE", "the page is still at its old place");
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
