//! B17R: who makes single pages of a folio has cut its mappings, and finds one of all of it: a collapse has put the
//! small entries together again, which takes no folio. He makes a page's entry of it. So who puts them together tries
//! the folio's lock.

use crate::programs;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B17R",
    title: "a cut huge page is put together while its folio is split",
    thread: "S4",
    guards: &[Guard::RejoinLocksFolio],
    invariants: &["I-TLBFREE"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        programs::huge_page_and_swap(cpu);
        cpu.protect(X, 1, Prot::Read);
        cpu.protect(X, 1, Prot::ReadWrite);
    },
    actors: &[
        actor("page-out of a page", |cpu| {
            cpu.page_out(X, 1);
        }),
        actor("madvise COLLAPSE", |cpu| {
            cpu.collapse(X);
        }),
    ],
    end: |cpu| {
        cpu.load(Y);
        cpu.store(X, 2);
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
