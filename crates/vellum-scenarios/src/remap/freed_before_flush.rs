//! B8: a page is moved, and the old place flushed only after the lock of the new place has gone. Whoever takes the page
//! away at its new place flushes that alone, and frees a frame that is still reachable at the old one. Here it is a
//! copy-on-write that takes it, as other range operations wait for the whole move.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B8",
    title: "a moved page is freed before the old place is flushed",
    thread: "S1",
    guards: &[Guard::MoveFlushedFirst],
    alike: true,
    bound: Bound { preemptions: 1, surprises: 1 },
    further: Some(Bound { preemptions: 2, surprises: 0 }),
    invariants: &["I-TLBFREE"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.fork();
        cpu.load(X);
    },
    actors: &[
        actor("user", |cpu| {
            // The copy; then the child, the page's last user, ends.
            cpu.store(Y, 2);
            cpu.exit(Process(1));
            cpu.load(X);
        }),
        actor("mremap", |cpu| {
            cpu.remap(X, 1, Y);
        }),
    ],
    ..Scenario::DEFAULT
};
