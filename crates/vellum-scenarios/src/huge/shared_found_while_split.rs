//! C16F: a fault finds a page of a huge one in the cache, and where its head is. A hole is made in another part of it,
//! for which single pages are made of it; then the fault takes its reference to what was the head. It shows a page to
//! which it has none.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C16F",
    title: "a page of a huge one is found in the cache as that is split",
    thread: "S4",
    guards: &[Guard::CachedPartAskedAgain],
    invariants: &["I-REF", "I-COUNT", "I-UAF", "I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_shared_memory(4);
        cpu.map_file(X, LEAF, Prot::ReadWrite, 0);
        cpu.store(X, 1);
        // It stays in the cache, and what shows it now cannot show it whole.
        cpu.unmap(X, LEAF);
        cpu.map_file(X, 1, Prot::ReadWrite, 1);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.store(X, 2);
        }),
        actor("hole", |cpu| {
            cpu.punch(3, 1);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
