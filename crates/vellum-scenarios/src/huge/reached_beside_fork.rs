//! C15: the kernel stores to a page of a huge one that it may not change in place: a fork shares it just then. What it
//! stores must not show in the child, nor in another that was forked before.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Process, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C15",
    title: "the kernel stores to a huge page that has been shared",
    thread: "S4",
    guards: &[Guard::ReachedUnderLock],
    invariants: &["I-LOST", "I-COW"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.switch_away();
    },
    actors: &[
        actor("process_vm_writev(2)", |cpu| {
            cpu.copy_out(Y, 2);
        }),
        actor("fork", |cpu| {
            if let Some(child) = cpu.fork() {
                cpu.switch_to(child);
                cpu.load(Y);
                cpu.note(0, 1);
            }
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.load(Y);
        if cpu.noted(0) != 0 {
            cpu.switch_to(Process(1));
            cpu.load(Y);
        }
    },
    ..Scenario::DEFAULT
};
