//! B15: whether a table is empty is looked up before its lock is taken, and a fault puts a page there in between. The
//! page goes with the table: its contents are lost, and its frame leaks.

use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B15",
    title: "a table found empty is not when it is unlinked",
    guards: &[Guard::EmptyUnderLock],
    invariants: &["I-TLBPERM", "I-COUNT"],
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise DONTNEED", |cpu| {
            cpu.dont_need(X, 1);
        }),
        actor("fault", |cpu| {
            cpu.store(Y, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
