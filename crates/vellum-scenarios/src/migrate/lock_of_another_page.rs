//! F6, of what becomes of a frame: a fault is about to sleep for the lock of a page that is being moved, without a
//! reference. The move ends; the old frame becomes a table, whose lock is in the same place. Who sleeps for that is not
//! woken. So it announces itself, looks again whether the page is still being moved, and only then sleeps.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F6T",
    title: "who waits for a page waits for a table",
    guards: &[Guard::WaitLooksAgain],
    alike: true,
    // With broadcasts nobody waits for an interrupt: it takes a pre-emption more.
    breaks: |mode| !mode.is_broadcast(),
    invariants: &["I-PROG"],
    nodes: 2,
    bound: Bound { preemptions: 2, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("move_pages, mmap", |cpu| {
            cpu.migrate(X, 1, 1);
            cpu.map(Z, 1, Prot::ReadWrite);
            cpu.store(Z, 1);
        }),
        actor("user", |cpu| {
            cpu.load(X);
        }),
    ],
    ..Scenario::DEFAULT
};
