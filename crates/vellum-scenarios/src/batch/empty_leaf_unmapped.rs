//! A4, in a leaf without entries: reclaim has taken the only page, one of a file, out of it, and not flushed yet.
//! munmap of a part of the leaf finds no entry at all; that is no reason to have nothing to do.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A4E",
    title: "munmap in an empty leaf which a batch still owes a flush",
    thread: "S1",
    guards: &[Guard::EmptyLeafSettledInPlace],
    alike: true,
    invariants: &["I-GONE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::Read, 0);
        cpu.load(X);
        // Of another sort, so that the leaf is not given back, with a flush of its own.
        cpu.map(Y, 1, Prot::ReadWrite);
    },
    actors: &[
        actor("munmap, user", |cpu| {
            let is_done = cpu.unmap(X, 1);
            cpu.expect(!is_done || cpu.load(X).is_none(), "I-GONE", "the page is still there after munmap");
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
