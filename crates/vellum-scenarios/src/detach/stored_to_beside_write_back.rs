//! B25W, as B22: munmap takes a leaf of a shared mapping out of the tree with what it shows. A write-back finds no
//! entry, and what was stored before it began is not in the file when it returns.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, TWO_LEAVES, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B25W",
    title: "write-back does not see a dirty page in a detached leaf",
    guards: &[Guard::SharedPageByPage],
    alike: true,
    invariants: &["I-DIRTY"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 7);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, TWO_LEAVES);
        }),
        actor("fsync", |cpu| {
            cpu.switch_away();
            cpu.write_back();
        }),
    ],
    ..Scenario::DEFAULT
};
