//! D10G: a thread takes a guard away, stores to the page and then to another, while a second thread forks. No page is
//! there when fork copies the leaf, so that the fault makes a new one, which only the parent has; the store to the
//! other page goes through a translation that fork has not flushed yet, to a page that the child gets.

use crate::programs::{fork_noted, is_one_moment};
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "D10G",
    title: "a fault where a guard was makes a page before fork's flush",
    guards: &[Guard::ForkGate],
    bound: Bound { preemptions: 1, surprises: 1 },
    further: Some(Bound { preemptions: 2, surprises: 0 }),
    invariants: &["I-COW"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(Y, 1);
        cpu.install_guard(X, 1);
    },
    actors: &[
        // This CPU has the translation of Y cached from the beginning.
        actor("GUARD_REMOVE, user", |cpu| {
            cpu.remove_guard(X, 1);
            cpu.store(X, 5);
            cpu.store(Y, 2);
        }),
        actor("fork", fork_noted),
    ],
    end: |cpu| is_one_moment(cpu, [X, Y], 5),
    ..Scenario::DEFAULT
};
