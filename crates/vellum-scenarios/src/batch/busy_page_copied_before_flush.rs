//! A6, of a page whose lock a fault has when it is to be moved: it is waited for, and unmapped in a batch of its own,
//! which is flushed before the page is copied, too.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A6B",
    title: "migration copies a page it waited for before the flush",
    guards: &[Guard::FlushBeforeBusyCopy],
    alike: true,
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-LOST", "I-TLBFREE"],
    nodes: 2,
    bound: Bound { preemptions: 2, surprises: 1 },
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.page_out(X, 1);
    },
    actors: &[
        actor("user", |cpu| {
            // It comes back, under its lock.
            cpu.store(X, 2);
            cpu.store(X, 3);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(X, 1, 1);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
