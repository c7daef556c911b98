//! F11: a fault looks a page of a file up. Then the file is truncated: the page leaves the cache, entries that show it
//! go. The fault maps it, and the program sees what is beyond the end.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F11",
    title: "a fault maps a page that was truncated after it was looked up",
    guards: &[Guard::CachedUnderLock],
    alike: true,
    invariants: &["I-GONE", "I-LOST"],
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
