//! B14: an empty table is given back while a walker with interrupts on is inside. The walker answers the flush in the
//! middle of his walk, so that the flush is no proof that he has left the table.

use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B14",
    title: "reclaim frees an empty table under a walker",
    guards: &[Guard::GracePeriod],
    alike: true,
    invariants: &["I-PTFREE"],
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise DONTNEED", |cpu| {
            cpu.dont_need(X, 1);
            // Frees what nobody can be inside any more.
            cpu.quiesce();
        }),
        actor("walker", |cpu| {
            cpu.translate(X);
        }),
    ],
    ..Scenario::DEFAULT
};
