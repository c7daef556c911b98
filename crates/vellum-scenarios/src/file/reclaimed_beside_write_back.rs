//! B22, beside reclaim: it takes the page out of its entries and its mark out of the cache's hands to write it. A
//! write-back that passes by what is in flight returns before it has landed.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B22R",
    title: "write-back does not wait for what reclaim is writing",
    thread: "S1",
    guards: &[Guard::WritesAwaited],
    alike: true,
    invariants: &["I-DIRTY"],
    bound: Bound { preemptions: 1, surprises: 1 },
    further: Some(Bound { preemptions: 2, surprises: 0 }),
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 7);
    },
    actors: &[
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
        actor("fsync", |cpu| {
            cpu.switch_away();
            cpu.write_back();
        }),
    ],
    ..Scenario::DEFAULT
};
