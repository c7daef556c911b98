//! An operation of one's own, above the core's, and a scenario about it.
//!
//! A snapshot of two pages that a program uses: it is taken at one moment, so it may not have the program's second
//! store and lack the first. What makes it one moment is that nobody can store while the pages are read.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Cpu, Prot, Scenario, X, Y, actor};

/// Reads both pages, which the program may not store to meanwhile.
fn snapshot(cpu: &Cpu<'_>) -> [Option<u64>; 2] {
    if cpu.guard() {
        cpu.protect(X, 2, Prot::Read);
    }
    let words = [cpu.read_by_device(X), cpu.read_by_device(Y)];
    cpu.protect(X, 2, Prot::ReadWrite);
    words
}

/// A program stores to one page, then to another, while a snapshot of both is taken.
pub static SNAPSHOT: Scenario = Scenario {
    id: "OWN1",
    title: "a snapshot is taken while the program stores",
    guards: &[Guard::OfScenario],
    invariants: &["I-SNAPSHOT"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("snapshot", |cpu| {
            let [x, y] = snapshot(cpu);
            cpu.expect(x == Some(2) || y != Some(2), "I-SNAPSHOT", "it has the second store and not the first");
        }),
        // A store fails while the pages are protected: the program gets a signal, and ends.
        actor("program", |cpu| {
            let _ = cpu.store(X, 2) && cpu.store(Y, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
