//! C11C, as B20: a walker without a lock reads an upper entry twice, once to see whether it names a table and once to
//! go there. In between the table became a huge page, and the walker takes that for a table.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C11C",
    title: "a walker takes a huge page for the table that was there",
    thread: "S4",
    guards: &[Guard::SingleRead],
    invariants: &["I-PTFREE"],
    bound: Bound { preemptions: 1, surprises: 0 },
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
        }),
    ],
    ..Scenario::DEFAULT
};
