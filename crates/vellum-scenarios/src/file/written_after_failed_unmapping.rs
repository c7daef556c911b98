//! A1, of a page whose unmapping fails: munmap has taken one of the two entries of a file's page and still counts as a
//! mapping, so the move finds too few and gives up. The entry that it has taken itself is not put back, as a fault brings
//! the page again; so it must be flushed before the page's lock goes. Else write-back, which finds no entry, writes the
//! page and counts it as clean, while a CPU stores through the old translation.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Z, actor};
use vellum::Guard;

/// Slot of the note: what was stored last.
const STORED: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A1F",
    title: "a page whose unmapping failed is written before the flush",
    thread: "S1",
    guards: &[Guard::FailedUnmapFlushed],
    invariants: &["I-LOST", "I-DIRTY"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.map_file(Z, 1, Prot::Read, 0);
        cpu.store(X, 1);
        cpu.load(Z);
        cpu.note(STORED, 1);
    },
    actors: &[
        actor("write-back, user", |cpu| {
            cpu.write_back();
            if cpu.store(X, 2) {
                cpu.note(STORED, 2);
            }
        }),
        actor("munmap", |cpu| {
            cpu.switch_away();
            cpu.unmap(Z, 1);
        }),
        actor("move_pages", |cpu| {
            cpu.switch_away();
            cpu.migrate(X, 1, 1);
        }),
    ],
    end: |cpu| {
        cpu.unmap(X, 1);
        // The last reference: what is dirty is written.
        cpu.close_file();
        cpu.expect(cpu.in_backing(0) == cpu.noted(STORED), "I-LOST", "the file lacks the last store");
    },
    ..Scenario::DEFAULT
};
