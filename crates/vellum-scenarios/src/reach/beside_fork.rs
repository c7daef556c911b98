//! B24: the kernel has found that the page may be stored to, and fork shares it with a child before the copy is made:
//! the child finds in its memory what its parent got after the fork.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B24F",
    title: "what the kernel stores shows in a child that was forked before",
    guards: &[Guard::ReachedUnderLock],
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        // Another process's system call: no flush interrupts it.
        cpu.switch_away();
    },
    bound: Bound { preemptions: 1, surprises: 1 },
    actors: &[
        actor("process_vm_writev(2)", |cpu| {
            cpu.copy_out(X, 2);
        }),
        actor("fork", |cpu| {
            if let Some(child) = cpu.fork() {
                cpu.switch_to(child);
                cpu.load(X);
                cpu.note(0, 1);
            }
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.load(X);
        if cpu.noted(0) != 0 {
            cpu.switch_to(Process(1));
            cpu.load(X);
        }
    },
    ..Scenario::DEFAULT
};
