//! B23: a mapping is replaced (`MAP_FIXED`), across two leaves. When the first leaf's lock is free a thread stores to
//! the new page there; another still loads the old one, through its TLB: they see two pages at one address. Copies on
//! write are flushed first (D9); range operations need the same.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Known, Prot, Scenario, actor};

/// The last page of one leaf, before the first of the next.
const LAST: At = At(0, 3);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B23",
    title: "the page of a new mapping is used before the old one is flushed",
    known: Some(Known {
        fault: "D7: range operations flush before they let go of a leaf only where entries must be broken before made",
        breaks: |mode| !mode.semantics.break_before_make,
    }),
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(LAST, 2, Prot::ReadWrite);
        cpu.store(LAST, 1);
    },
    actors: &[
        actor("mmap", |cpu| {
            cpu.map(LAST, 2, Prot::ReadWrite);
        }),
        actor("writer", |cpu| {
            cpu.store(LAST, 5);
        }),
        actor("reader", |cpu| {
            cpu.load(LAST);
        }),
    ],
    ..Scenario::DEFAULT
};
