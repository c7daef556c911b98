//! A4E, of a range of two sorts of mappings: munmap claims it, and goes over the leaves one by one.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Prot, Scenario, X, Y, actor};
use vellum::Guard;

/// The page behind `Y`.
const BEHIND: At = At(0, 2);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A4EC",
    title: "munmap of two mappings in an empty leaf which a batch still owes a flush",
    thread: "S1",
    guards: &[Guard::EmptyLeafSettled],
    alike: true,
    invariants: &["I-GONE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::Read, 0);
        cpu.load(X);
        cpu.map(Y, 1, Prot::Read);
        // So that the leaf is not given back, with a flush of its own.
        cpu.map(BEHIND, 1, Prot::ReadWrite);
    },
    actors: &[
        actor("munmap, user", |cpu| {
            let is_done = cpu.unmap(X, 2);
            cpu.expect(!is_done || cpu.load(X).is_none(), "I-GONE", "the page is still there after munmap");
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
