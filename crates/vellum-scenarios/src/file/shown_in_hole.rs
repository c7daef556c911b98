//! F17: a hole is made in a file. Entries go first, then the pages leave the cache; a fault that comes in between finds
//! the page there, and shows what was stored before, from then on.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F17",
    title: "a fault shows a page in a hole, where its entry has gone already",
    guards: &[Guard::HoleUnderLock],
    invariants: &["I-LOST", "I-RMAP", "I-GONE"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 1);
    },
    actors: &[
        actor("hole", |cpu| {
            cpu.punch(0, 1);
        }),
        actor("user", |cpu| {
            cpu.load(X);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(0), "I-GONE", "what was stored before the hole was made"),
    ..Scenario::DEFAULT
};
