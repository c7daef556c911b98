//! F12: a store to a private mapping copies a page of a file, which is truncated before the copy is mapped. The copy
//! is of what is no longer there, and lies beyond the end.
//!
//! Where entries must be broken before they are made anew, a second thing could go wrong: truncation takes the entry of
//! a private copy, and a fault puts another copy there before the flush. No fault does while the file is being cut.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F12",
    title: "a private copy of a page appears after it was truncated",
    guards: &[Guard::CachedUnderLock],
    alike: true,
    invariants: &["I-GONE", "I-BBM"],
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 1);
        // The page stays in the cache.
        cpu.unmap(X, 1);
        cpu.map_private_file(X, 1, Prot::ReadWrite, 0);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.store(X, 2);
        }),
        actor("ftruncate", |cpu| {
            cpu.truncate(0);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X).is_none(), "I-GONE", "a load beyond the end of the file"),
    ..Scenario::DEFAULT
};
