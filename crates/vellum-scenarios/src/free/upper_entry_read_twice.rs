//! B20: a walker reads an entry twice, once to see whether it names a table and once to go there. In between the table
//! is given back, and the walker goes where the empty entry points.

use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B20",
    title: "an upper entry is read twice",
    guards: &[Guard::SingleRead],
    invariants: &["I-PTFREE"],
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise DONTNEED", |cpu| {
            cpu.dont_need(X, 1);
        }),
        actor("fault", |cpu| {
            cpu.store(Y, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
