//! G20: a thread gives a page up, stores to it again and then to another, while a second thread forks. The page is
//! absent when fork copies its leaf, so that the fault makes a new one, which only the parent has; the store to the
//! other page goes through a translation that fork has not flushed yet, to a page that the child gets. As in D10, the
//! child has the second store and not what came before it, though nothing was copied here.

use crate::programs::{fork_noted, is_one_moment};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G20",
    title: "a fault after DONTNEED makes a page before fork's flush",
    guards: &[Guard::ForkGate],
    alike: true,
    bound: Bound { preemptions: 1, surprises: 1 },
    further: Some(Bound { preemptions: 2, surprises: 0 }),
    invariants: &["I-COW"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 1);
    },
    actors: &[
        // This CPU has the translation of Y cached from the beginning.
        actor("DONTNEED, user", |cpu| {
            cpu.dont_need(X, 1);
            cpu.store(X, 5);
            cpu.store(Y, 2);
        }),
        actor("fork", fork_noted),
    ],
    end: |cpu| is_one_moment(cpu, [X, Y], 5),
    ..Scenario::DEFAULT
};
