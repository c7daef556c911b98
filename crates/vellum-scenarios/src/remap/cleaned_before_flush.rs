//! B7: a dirty page of a file is moved, and the old place flushed only after the locks have gone. A write-back finds
//! the page at its new place, makes it clean there and flushes that; a store at the old place is noted nowhere.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

/// Slot of the note: what was stored last.
const STORED: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B7",
    title: "a moved page is cleaned before the old place is flushed",
    thread: "S1",
    guards: &[Guard::MoveFlushedFirst],
    alike: true,
    invariants: &["I-LOST", "I-DIRTY"],
    bound: Bound { preemptions: 1, surprises: 1 },
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
        actor("mremap", |cpu| {
            // The write-back's flush is not to interrupt it: a pre-emption less.
            cpu.switch_away();
            cpu.remap(X, 1, Y);
        }),
    ],
    end: |cpu| {
        cpu.unmap(Y, 1);
        // The last reference: what is dirty is written.
        cpu.close_file();
        let is_there = cpu.in_backing(0) == cpu.noted(STORED);
        cpu.expect_if_done(is_there, "I-LOST", "the file lacks the last store");
    },
    ..Scenario::DEFAULT
};
