//! F11P: a fault has found a page of a huge one in the cache, and has a reference. The memory is made shorter, so that
//! this page goes, and others of the huge one stay: it cannot be split, on account of the reference, and is the
//! object's still. The fault maps a page behind the end.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Z, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F11P",
    title: "a fault maps a page that was cut off a huge one",
    thread: "S4",
    guards: &[Guard::PartSoughtUnderLock],
    invariants: &["I-GONE", "I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_shared_memory(4);
        cpu.map_file(X, LEAF, Prot::ReadWrite, 0);
        cpu.store(X, 1);
        // It stays in the cache, and nobody needs to be flushed.
        cpu.unmap(X, LEAF);
        cpu.map_file(Z, 1, Prot::ReadWrite, 2);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.load(Z);
        }),
        actor("ftruncate", |cpu| {
            cpu.truncate(1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(Z).is_none(), "I-GONE", "a load beyond the end of the memory"),
    ..Scenario::DEFAULT
};
