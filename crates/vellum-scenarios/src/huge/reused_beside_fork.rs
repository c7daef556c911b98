//! D10HR: a huge page whose other user has ended is made writable in place, all of it, and a fork shares it just then.
//! That nobody else has it is asked under the lock once more.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Process, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "D10HR",
    title: "a huge page is made writable in place beside fork",
    thread: "S4",
    guards: &[Guard::ReuseRecounted],
    invariants: &["I-LOST", "I-VMA", "I-COW"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        if let Some(child) = cpu.fork() {
            cpu.exit(child);
        }
    },
    actors: &[
        actor("thread", |cpu| {
            cpu.store(X, 2);
        }),
        actor("fork", |cpu| {
            if let Some(Process(child)) = cpu.fork() {
                cpu.note(0, child as u64);
            }
        }),
    ],
    end: |cpu| {
        cpu.store(Y, 3);
        cpu.switch_to(Process(cpu.noted(0) as usize));
        cpu.expect_if_done(cpu.load(Y) != Some(3), "I-COW", "the child has what was stored after the fork");
    },
    ..Scenario::DEFAULT
};
