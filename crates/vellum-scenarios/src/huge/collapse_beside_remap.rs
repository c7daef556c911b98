//! B10: mremap moves pages out of a leaf, or munmap takes them, while that is collapsed. Who has come to the leaf works
//! on one that is in the tree no more, and who comes later finds that something is being moved there, which is not
//! theirs to take. So a collapse claims its place.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Z, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B10",
    title: "a page is moved out of a leaf that is collapsed",
    thread: "S4",
    guards: &[Guard::CollapseUnderClaim],
    invariants: &["I-LOST", "I-REF", "I-COUNT", "I-PROG", "I-VMA"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise COLLAPSE", |cpu| {
            cpu.collapse(X);
        }),
        actor("mremap", |cpu| {
            cpu.remap(X, 1, Z);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(Z) == Some(1), "I-LOST", "what was moved is not what was stored"),
    ..Scenario::DEFAULT
};
