//! F11, at the end of a truncation: it has passed by the leaf, and has yet to take the page out of the cache. A fault
//! that finds the page there, and asks only then whether it is being cut off, may learn that this is over.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F11L",
    title: "a fault finds a page still cached, and truncation over",
    guards: &[Guard::GoingAskedFirst],
    alike: true,
    invariants: &["I-GONE", "I-LOST"],
    bound: Bound { preemptions: 3, surprises: 0 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 1);
        // The page stays in the cache.
        cpu.unmap(X, 1);
        cpu.map_file(X, 1, Prot::Read, 0);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.load(X);
        }),
        actor("ftruncate", |cpu| {
            cpu.truncate(0);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X).is_none(), "I-GONE", "a load beyond the end of the file"),
    ..Scenario::DEFAULT
};
