//! B8, of a huge page: it is moved as a whole, and the old place flushed only after the lock of the new place has gone.
//! Who moves the page to another frame takes it from its new place and flushes that alone; then the old frame is freed,
//! and still reachable at the old place.

use crate::programs::huge_page;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Scenario, X, actor};

const NEW: At = At(2, 0);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B8H",
    title: "a moved huge page is freed before the old place is flushed",
    thread: "S4",
    guards: &[Guard::MoveFlushedFirst],
    invariants: &["I-TLBFREE", "I-LOST"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        huge_page(cpu);
        cpu.load(X);
    },
    actors: &[
        actor("user, move_pages", |cpu| {
            cpu.migrate(NEW, 4, 1);
            cpu.load(X);
        }),
        actor("mremap", |cpu| {
            cpu.remap(X, LEAF, NEW);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(NEW) == Some(1), "I-LOST", "what was moved is not what was stored"),
    ..Scenario::DEFAULT
};
