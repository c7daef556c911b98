//! B23: a mapping is replaced (`MAP_FIXED`). The leaf's lock is free before the flush: a thread stores to the new page
//! while another still loads the old one, through its TLB, so that they see two pages at one address. A copy on write
//! is flushed first (D9); range operations need the same.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B23",
    title: "the page of a new mapping is used before the old one is flushed",
    guards: &[Guard::ReplacedUnderLock],
    alike: true,
    breaks: |mode| !mode.semantics.break_before_make,
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        // It has the old translation, and takes its interrupt late.
        actor("reader", |cpu| {
            cpu.load(X);
        }),
        actor("mmap", |cpu| {
            cpu.map(X, 1, Prot::ReadWrite);
        }),
        actor("writer", |cpu| {
            cpu.store(X, 5);
        }),
    ],
    ..Scenario::DEFAULT
};
