//! T1: the discussion of late flushes (source thread 000), on a toy unmap. A batch would like to flush as late as it
//! can. But a page that was dirty may still be stored to, through a translation that is dirty and writable too,
//! without the processor looking at the entry; so what is written out before the flush may lack that store. Hence the
//! rule.

use vellum_lab::scenario::{Cpu, Scenario, X, actor};
use vellum::Guard;

/// Slots of notes: what went to the disk, and what the user stored last.
const DISK: usize = 0;
const STORED: usize = 1;

fn unmap_late(cpu: &Cpu<'_>) {
    let toy = cpu.toy();
    let Some(old) = toy.clear(X) else { return };
    if old.dirty && cpu.guard() {
        toy.flush(X);
    }
    cpu.note(DISK, toy.read(old));
    toy.flush(X);
    toy.free(old);
}

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "T1",
    title: "toy: a dirty page is written out before a late flush",
    thread: "S1",
    guards: &[Guard::OfScenario],
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.toy().map(&[X]);
        cpu.note(STORED, cpu.toy().store(X, 1) as u64);
    },
    actors: &[
        actor("unmap", unmap_late),
        actor("user", |cpu| {
            for value in [2, 3] {
                if cpu.toy().store(X, value) {
                    cpu.note(STORED, value);
                }
            }
        }),
    ],
    end: |cpu| cpu.expect(cpu.noted(DISK) == cpu.noted(STORED), "I-LOST", "the disk lacks the user's last store"),
    ..Scenario::DEFAULT
};
