//! D10S: a store to a huge page that another child shares splits it. A fork has shared the page meanwhile, and comes
//! upon the table: the child gets its pages twice. And the table bears no mark of the fork, so that the store does not
//! wait for its flush. But faults make no tables where a commit has begun, which they see under the lock under which
//! they split.

use crate::programs::{fork_noted, is_one_moment};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "D10S",
    title: "a fault splits a huge page that a fork has shared",
    thread: "S4",
    guards: &[Guard::TablesBreakBeforeMake],
    invariants: &["I-COW", "I-REF", "I-COUNT"],
    // It is a race of tables, and does not depend on what the processor does.
    runs: |mode| mode.is_broadcast(),
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 0);
        cpu.fork();
        cpu.map(Z, LEAF, Prot::ReadWrite);
        cpu.store(Z, 0);
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
