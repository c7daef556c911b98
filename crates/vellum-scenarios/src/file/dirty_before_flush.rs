//! B2: a page of a file counts as dirty before the flush. A write-back in between takes the mark and writes the page; a
//! store through a translation that is still cached makes it dirty again without anybody noticing.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Known, Prot, Scenario, X, actor};
use vellum::Guard;

/// Slot of the note: what was stored last.
const STORED: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B2",
    title: "a page is noted dirty, and cleaned, before the flush",
    thread: "S1",
    guards: &[Guard::DirtyAfterFlush],
    // With the mark set before the flush, too, the write-back may come before either.
    known: Some(Known { fault: "D2: a look without the lock takes an entry on its way out for none", breaks: |_| true }),
    bound: Bound { preemptions: 1, surprises: 1 },
    invariants: &["I-LOST", "I-DIRTY"],
    // CPU 0 has the translation cached from the beginning.
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
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
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
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
