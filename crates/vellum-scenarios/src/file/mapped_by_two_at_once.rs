//! B22, of a file that two processes map at one time: the classes of both come to the head of the file's chain. If each
//! puts his there without a lock, one is lost, and no walk comes to that mapping: write-back returns before the file
//! has what was stored there.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B22C",
    title: "write-back misses one of two mappings that came at one time",
    thread: "S1",
    guards: &[Guard::ChainUnderLock],
    invariants: &["I-DIRTY"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        // One after the other, so that their classes are in different parts of the registry.
        cpu.new_process();
        cpu.new_process();
    },
    actors: &[
        actor("mmap", |cpu| {
            cpu.switch_to(Process(1));
            cpu.map_file(X, 1, Prot::ReadWrite, 0);
        }),
        actor("mmap", |cpu| {
            cpu.switch_to(Process(2));
            cpu.map_file(X, 1, Prot::ReadWrite, 0);
        }),
    ],
    end: |cpu| {
        for process in [1, 2] {
            cpu.switch_to(Process(process));
            cpu.store(X, 6 + process as u64);
            cpu.write_back();
        }
    },
    ..Scenario::DEFAULT
};
