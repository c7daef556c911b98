//! J14 where flushes are broadcasts: a CPU enters a process, and has locked the pool of identifiers. A device
//! interrupts it, and the handler waits for the run queue of another CPU, which is in a switch, too, with interrupts
//! off, and waits for the pool.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Mode, Process, Scenario, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J14I",
    title: "a device's interrupt waits for who waits for identifiers",
    guards: &[Guard::PoolUninterrupted],
    runs: Mode::is_broadcast,
    invariants: &["I-PROG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.new_process();
        cpu.new_process();
    },
    actors: &[
        actor("switches", |cpu| cpu.switch_to(Process(1))),
        actor("scheduler", |cpu| cpu.with_run_queue(|| cpu.switch_to(Process(2)))),
        actor("device", |cpu| cpu.interrupt(0)),
    ],
    on_device: |cpu| cpu.with_run_queue(|| ()),
    ..Scenario::DEFAULT
};
