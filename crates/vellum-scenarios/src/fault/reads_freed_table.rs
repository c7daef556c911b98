//! G1: the fault handler descends without a lock, as a speculative fault does, and the table it has reached is freed.
//! Its lock and its classes are in the table's descriptor, so even to find out that the table is gone it must be there.

use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G1",
    title: "a fault reads a table that has been freed",
    thread: "S2",
    guards: &[Guard::GracePeriod],
    invariants: &["I-PTFREE"],
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
