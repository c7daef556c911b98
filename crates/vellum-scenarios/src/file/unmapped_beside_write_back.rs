//! B22: munmap takes the entry of a dirty page, and notes then that the page is dirty. A write-back that looks at the
//! entry meanwhile, without the leaf's lock, finds none; the page is not noted dirty; so it returns, and what was
//! stored before it began is not in the file.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B22",
    title: "write-back does not see what munmap has in its hands",
    thread: "S1",
    guards: &[Guard::TakersAwaited],
    alike: true,
    invariants: &["I-DIRTY"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 7);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("fsync", |cpu| {
            cpu.switch_away();
            cpu.write_back();
        }),
    ],
    ..Scenario::DEFAULT
};
