//! F3: a fault finds a page in the page cache and takes a reference. Meanwhile the page was reclaimed, and its frame
//! holds another page of the file, to which the reference is. If the fault does not look at the cache again, it maps
//! that.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F3",
    title: "a lookup in the page cache returns another page",
    guards: &[Guard::LookupRecheck],
    bound: Bound { preemptions: 1, surprises: 1 },
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.map_file(Y, 1, Prot::ReadWrite, 1);
        cpu.store(Y, 11);
        cpu.map_file(Z, 1, Prot::ReadWrite, 0);
        cpu.store(Z, 10);
        cpu.write_back();
        cpu.page_out(Y, 1);
        cpu.map_file(X, 1, Prot::Read, 0);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.load(X);
        }),
        actor("pageout, fault", |cpu| {
            cpu.page_out(Z, 1);
            // The frame that has just become free is the first to be used.
            cpu.load(Y);
        }),
    ],
    ..Scenario::DEFAULT
};
