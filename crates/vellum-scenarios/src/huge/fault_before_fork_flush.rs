//! D10H: D10 with huge pages. Fork takes the right to store from two huge pages, and has not flushed. A store to the
//! first becomes a copy, of one page of it; the store after that goes by an old translation to the second, which the
//! child has. A fault waits for a fork that has been where it is, and makes no table where a commit has begun; one of
//! the two is enough.

use crate::programs::{fork_noted, is_one_moment};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "D10H",
    title: "a fault copies a page of a huge one before fork's flush",
    thread: "S4",
    guards_redundant: &[Guard::ForkGate, Guard::TablesBreakBeforeMake],
    invariants: &["I-COW", "I-REF", "I-COUNT"],
    // Where software notes it, the second store faults, too.
    breaks: |mode| mode.semantics.hardware_dirty,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.map(Z, LEAF, Prot::ReadWrite);
        cpu.store(X, 0);
        cpu.store(Z, 0);
        // The first CPU keeps the translation of Z, and loses that of X.
        cpu.protect(X, LEAF, Prot::Read);
        cpu.protect(X, LEAF, Prot::ReadWrite);
    },
    actors: &[
        actor("thread", |cpu| {
            if cpu.store(X, 1) {
                cpu.store(Z, 2);
            }
        }),
        actor("fork", fork_noted),
    ],
    end: |cpu| is_one_moment(cpu, [X, Z], 1),
    ..Scenario::DEFAULT
};
