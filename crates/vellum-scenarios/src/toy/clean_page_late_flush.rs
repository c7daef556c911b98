//! T2: as T1, but the page is clean. Its first store must walk the tables again to set the dirty bit, and finds the
//! entry gone: the flush may come late. Unless the processor does not look (the mode tiny-blind): there the rule of T1
//! is not enough, and clean pages must be flushed early as well.

use vellum_lab::scenario::{Cpu, Scenario, X, actor};
use vellum::Guard;

const DISK: usize = 0;
const STORED: usize = 1;

fn unmap_late(cpu: &Cpu<'_>) {
    let toy = cpu.toy();
    let Some(old) = toy.clear(X) else { return };
    let must_flush_now = old.dirty || cpu.guard();
    if must_flush_now {
        toy.flush(X);
    }
    cpu.note(DISK, toy.read(old));
    if !must_flush_now {
        toy.flush(X);
    }
    toy.free(old);
}

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "T2",
    title: "toy: a clean page is stored to before a late flush",
    thread: "S1",
    guards: &[Guard::OfScenario],
    breaks: |mode| !mode.semantics.clean_store_rewalks,
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.toy().map(&[X]);
        cpu.toy().load(X);
    },
    actors: &[
        actor("unmap", unmap_late),
        actor("user", |cpu| {
            cpu.toy().load(X);
            if cpu.toy().store(X, 2) {
                cpu.note(STORED, 2);
            }
        }),
    ],
    end: |cpu| cpu.expect(cpu.noted(DISK) == cpu.noted(STORED), "I-LOST", "the disk lacks the user's last store"),
    ..Scenario::DEFAULT
};
