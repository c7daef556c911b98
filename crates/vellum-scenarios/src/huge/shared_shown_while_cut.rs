//! F14H: shared memory is made shorter. Entries go first, then pages leave the cache; a fault that comes in between
//! finds a huge page there whole, and shows it: what is behind the end is mapped from then on.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F14H",
    title: "a huge page is shown again after its entry was cut off",
    thread: "S4",
    guards: &[Guard::HugeGoingAsked],
    invariants: &["I-GONE", "I-LOST", "I-RMAP"],
    bound: Bound { preemptions: 2, surprises: 0 },
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
