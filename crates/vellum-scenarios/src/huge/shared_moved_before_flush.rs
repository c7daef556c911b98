//! F2M: a huge page of shared memory is moved to another node. Its entry goes, and comes back by a fault, with the new
//! frames; what a thread stores through the old translation after the contents were copied is lost. So it is flushed
//! before.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F2M",
    title: "a huge page of shared memory is moved before it is flushed",
    thread: "S4",
    guards: &[Guard::SharedHugeFlushed],
    invariants: &["I-LOST", "I-TLBFREE", "I-GEN", "I-TLBPERM"],
    bound: Bound { preemptions: 1, surprises: 1 },
    nodes: 2,
    start: |cpu| {
        cpu.use_huge_shared_memory(4);
        cpu.map_file(X, LEAF, Prot::ReadWrite, 0);
        cpu.store(X, 1);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.load(X);
            cpu.store(X, 2);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(X, 4, 1);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
