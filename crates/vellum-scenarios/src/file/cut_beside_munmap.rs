//! F11U: munmap has taken the entry of a page and not flushed yet. Truncation, which finds no entry, returns; and a
//! thread still loads the page by its TLB. So it may in Linux: the munmap is under way. But the page must be nobody
//! else's until that has flushed: it is out of the cache, and the leaf that munmap has taken out holds the last
//! reference.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, TWO_LEAVES, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F11U",
    title: "a page that was cut off is still loaded beside a munmap",
    guards: &[Guard::DetachedFlushed],
    invariants: &["I-TLBFREE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        // More than a leaf: there an operation flushes under the leaf's lock, for which truncation waits.
        cpu.map_private_file(X, TWO_LEAVES, Prot::ReadWrite, 0);
        cpu.load(X);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, TWO_LEAVES);
        }),
        actor("ftruncate, user", |cpu| {
            cpu.load(X);
            cpu.truncate(0);
            cpu.load(X);
        }),
    ],
    ..Scenario::DEFAULT
};
