//! F11H: a fault has the lock of an upper table, sees that nothing is being cut off, and is about to show a huge page
//! there. Truncation comes by, finds the place empty, and goes on without asking for that lock, as it would for a
//! leaf's: the huge page stays mapped behind the end.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F11H",
    title: "truncation passes a place where a huge page is about to be shown",
    thread: "S4",
    guards: &[Guard::HugeAwaitedByCut],
    invariants: &["I-GONE", "I-LOST", "I-RMAP"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_shared_memory(4);
        cpu.map_file(X, LEAF, Prot::ReadWrite, 0);
        cpu.store(X, 1);
        // The page stays in the cache.
        cpu.dont_need(X, LEAF);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.load(X);
        }),
        actor("ftruncate", |cpu| {
            cpu.truncate(0);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X).is_none(), "I-GONE", "a load beyond the end of the memory"),
    ..Scenario::DEFAULT
};
