//! C12C: a huge page was cut, and is put together again, without a copy: table, mark, huge page, under a walker without
//! a lock. He reads each entry once, so what he takes for a table is one. What others store meanwhile is where it was.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C12C",
    title: "a cut huge page is put together under a walker",
    thread: "S4",
    guards: &[Guard::SingleRead],
    invariants: &["I-PTFREE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.collapse(X);
        cpu.protect(Y, 1, Prot::Read);
        cpu.protect(Y, 1, Prot::ReadWrite);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("walker, user", |cpu| {
            cpu.translate(X);
            cpu.store(X, 2);
        }),
        actor("madvise COLLAPSE", |cpu| {
            cpu.collapse(X);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(2), "I-LOST", "the last store is lost"),
    ..Scenario::DEFAULT
};
