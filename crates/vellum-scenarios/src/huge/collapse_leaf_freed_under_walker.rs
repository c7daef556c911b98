//! C7, as B14: a leaf that was taken out of the tree for a huge page is freed while a walker without a lock is inside.
//! The walker answers the flush in the middle of his walk; and where flushes are broadcasts nobody asks him. No
//! interrupt is sent to drive him out: the leaf waits for a grace period.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C7",
    title: "a collapsed leaf is freed under a walker",
    thread: "S4",
    guards: &[Guard::GracePeriod],
    alike: true,
    invariants: &["I-PTFREE"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("walker", |cpu| {
            cpu.translate(X);
        }),
        actor("madvise COLLAPSE", |cpu| {
            cpu.collapse(X);
            // Frees what nobody can be inside any more.
            cpu.quiesce();
        }),
    ],
    ..Scenario::DEFAULT
};
