//! B22, at the end of a process: what it stored is in entries that its end has not come to yet. A write-back that does
//! not look there any more, as the process has ended, and does not wait for that, returns before the file has it.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B22E",
    title: "write-back passes by a process at its end",
    thread: "S1",
    guards: &[Guard::EndsAwaited],
    alike: true,
    invariants: &["I-DIRTY"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 7);
        cpu.switch_away();
    },
    actors: &[
        actor("exit", |cpu| {
            cpu.switch_away();
            cpu.exit(Process(0));
        }),
        actor("fsync", |cpu| {
            cpu.switch_away();
            cpu.write_back();
        }),
    ],
    ..Scenario::DEFAULT
};
