//! G3, as B16: a fault finds a leaf, and gets its lock when that was taken out of the tree for a huge page. A page put
//! there is lost with the leaf: either it is not in the huge page, or it comes to a leaf whose pages were copied
//! already.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G3",
    title: "a fault installs a page in a leaf that is collapsed",
    thread: "S2",
    guards: &[Guard::StaleCheck],
    invariants: &["I-LOST", "I-COUNT"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.store(Y, 2);
            cpu.load(Y);
        }),
        actor("madvise COLLAPSE", |cpu| {
            cpu.collapse(X);
        }),
    ],
    ..Scenario::DEFAULT
};
