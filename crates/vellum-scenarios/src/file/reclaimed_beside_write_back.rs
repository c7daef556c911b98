//! B22, beside reclaim: it takes the page out of its entries and out of the cache's hands to write it. A write-back
//! passes by what is in flight, and returns before it has landed.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Known, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B22R",
    title: "write-back does not wait for what reclaim is writing",
    thread: "S1",
    known: Some(Known { fault: "D2: a page that reclaim is writing is passed by and not awaited", breaks: |_| true }),
    invariants: &["I-DIRTY"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 7);
    },
    actors: &[
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
        actor("fsync", |cpu| {
            cpu.write_back();
        }),
    ],
    ..Scenario::DEFAULT
};
