//! A2: a page whose entry is clean, and of which swap has a copy, is not written out again. If a CPU stores through a
//! clean translation without looking at the entry, what it stores before the flush is lost; so there such a page counts
//! as stored to. Processors that look find the entry gone.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A2",
    title: "a clean translation is used for a first store after unmapping",
    thread: "S1",
    guards: &[Guard::CleanMayBeStored],
    breaks: |mode| !mode.semantics.clean_store_rewalks,
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        // It comes back clean and writable, and keeps its slot.
        cpu.page_out(X, 1);
        cpu.load(X);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.store(X, 2);
            cpu.load(X);
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(2), "I-LOST", "the page lacks the last store"),
    ..Scenario::DEFAULT
};
