//! B2: a page of a file counts as dirty before the flush, and the leaf's lock goes. A write-back in between takes the
//! mark and writes the page; a store through a translation that is still cached makes it dirty again without anybody
//! noticing.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

/// Slot of the note: what was stored last.
const STORED: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B2",
    title: "a page is noted dirty, and cleaned, before the flush",
    thread: "S1",
    guards: &[Guard::DirtyFlushedUnderLock],
    bound: Bound { preemptions: 1, surprises: 1 },
    invariants: &["I-LOST", "I-DIRTY"],
    // CPU 0 has the translation cached from the beginning.
    start: |cpu| {
        cpu.map_file(X, 2, Prot::ReadWrite, 0);
        cpu.protect(Y, 1, Prot::Read);
        cpu.store(X, 1);
        cpu.note(STORED, 1);
    },
    actors: &[
        actor("writeback, user", |cpu| {
            cpu.write_back();
            if cpu.store(X, 2) {
                cpu.note(STORED, 2);
            }
        }),
        // The long way: the short one keeps the leaf's lock until it has flushed anyway.
        actor("munmap", |cpu| {
            cpu.unmap(X, 2);
        }),
    ],
    end: |cpu| {
        // The last reference: what is dirty is written.
        cpu.close_file();
        let is_there = cpu.in_backing(0) == cpu.noted(STORED);
        cpu.expect(is_there, "I-LOST", "the file lacks the last store");
    },
    ..Scenario::DEFAULT
};
