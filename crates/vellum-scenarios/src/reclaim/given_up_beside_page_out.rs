//! E19: MADV_FREE takes the dirty mark off a page while reclaim gives it a slot. Reclaim finds the page clean, so that
//! the slot needs no writing; but nothing was ever written there. (Where a store through a clean entry does not look at
//! the table, every page with a writable entry counts as stored to when it goes, and is written.)

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E19",
    title: "MADV_FREE makes a page clean that reclaim puts in a slot",
    thread: "S5",
    guards: &[Guard::GivenUpUnderLock],
    breaks: |mode| mode.semantics.clean_store_rewalks,
    invariants: &["I-SLOT", "I-LOST", "I-ACCESS"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(2);
    },
    actors: &[
        actor("madvise", |cpu| {
            cpu.give_up(X, 1);
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X).is_some(), "I-ACCESS", "the page is lost: a bus error"),
    ..Scenario::DEFAULT
};
