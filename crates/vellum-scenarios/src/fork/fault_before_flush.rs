//! D10: a thread stores while another forks. The store to a page that fork has copied takes a fault and goes to the
//! parent's new copy; the store after it goes, through a translation that fork has not flushed yet, to a page that the
//! child gets. The child then has the second store without the first: it never was its parent. Hence faults where fork
//! has been wait for its flush.

use crate::programs::{fork_noted, is_one_moment};
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "D10",
    title: "a fault copies a page before fork's flush",
    guards: &[Guard::ForkGate],
    alike: true,
    invariants: &["I-COW"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 0);
        cpu.store(Y, 0);
        // The first CPU keeps the translation of Y, and loses that of X.
        cpu.protect(X, 1, Prot::Read);
        cpu.protect(X, 1, Prot::ReadWrite);
    },
    actors: &[
        actor("thread", |cpu| {
            cpu.store(X, 1);
            cpu.store(Y, 2);
        }),
        actor("fork", fork_noted),
    ],
    end: |cpu| is_one_moment(cpu, [X, Y], 1),
    ..Scenario::DEFAULT
};
