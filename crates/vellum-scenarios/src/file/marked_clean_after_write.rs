//! B7, with a device in place of a mapping: write-back writes a page; a device stores to it meanwhile, and says so. If
//! write-back takes the dirty mark when the page is written, it takes that of this store, and nobody writes it.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

/// Slot of the note: what was stored last.
const STORED: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B7W",
    title: "a file's page is marked clean after it was written",
    guards: &[Guard::DirtyTakenFirst],
    alike: true,
    invariants: &["I-LOST", "I-DIRTY"],
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 1);
        cpu.note(STORED, 1);
        // No flush goes to the device.
        cpu.switch_away();
    },
    actors: &[
        actor("device", |cpu| {
            if cpu.transfer_to(X, 5) {
                cpu.note(STORED, 5);
            }
        }),
        actor("write-back", |cpu| {
            cpu.write_back();
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
