//! F16: two processes map a page of a file; one has changed the rights of the page beside it, so that two of its
//! classes may show the page at the same place. A walk for write-back that counts mappings down as it visits them, and
//! visits that process twice, never comes to the other. There the entry stays writable and dirty, a later store is
//! noted nowhere, and the next write-back misses it.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F16",
    title: "a walk that counts mappings visits one twice",
    thread: "S1",
    guards: &[Guard::WalkedToTheEnd],
    alike: true,
    invariants: &["I-DIRTY"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 2, Prot::ReadWrite, 0);
        cpu.fork();
        cpu.store(X, 1);
        cpu.switch_to(Process(1));
        cpu.store(X, 2);
        cpu.protect(Y, 1, Prot::Read);
        cpu.switch_to(Process(0));
    },
    actors: &[
        actor("parent", |cpu| {
            cpu.write_back();
            cpu.store(X, 3);
            cpu.write_back();
        }),
        actor("child", |cpu| {
            cpu.switch_to(Process(1));
            cpu.store(X, 4);
        }),
    ],
    ..Scenario::DEFAULT
};
