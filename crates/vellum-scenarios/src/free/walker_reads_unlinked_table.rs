//! B16, the negative control: who only reads may well look into a table that has been unlinked. It is empty, as it
//! would have been a moment before, and the grace period keeps it a table.

use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B16R",
    title: "a walker reads a table that has been unlinked",
    guards: &[Guard::StaleCheck],
    alike: true,
    breaks: |_| false,
    invariants: &[],
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise DONTNEED", |cpu| {
            cpu.dont_need(X, 1);
        }),
        actor("walker", |cpu| {
            cpu.translate(X);
            cpu.expect(cpu.translate(Y).is_none(), "I-GONE", "a page where nothing was stored");
        }),
    ],
    ..Scenario::DEFAULT
};
