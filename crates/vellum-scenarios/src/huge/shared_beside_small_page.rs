//! F13S: one mapping of shared memory can show a huge page whole, another cannot. Two faults come at once, and each
//! finds nothing in the cache. If the huge page is added without another look it takes the place of the small one: what
//! is stored to that nobody else sees.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, Z, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F13S",
    title: "a huge page is added over a small one",
    thread: "S4",
    guards: &[Guard::FolioRoomUnderLock],
    invariants: &["I-LOST", "I-REF", "I-COUNT"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_shared_memory(4);
        cpu.map_file(X, LEAF, Prot::ReadWrite, 0);
        cpu.map_file(Z, 1, Prot::ReadWrite, 1);
    },
    actors: &[
        actor("fault for all", |cpu| {
            cpu.store(X, 1);
        }),
        actor("fault for one", |cpu| {
            cpu.store(Z, 2);
        }),
    ],
    end: |cpu| {
        for at in [X, Y, Z] {
            cpu.load(at);
        }
    },
    ..Scenario::DEFAULT
};
