//! E18: a fork copies an entry that says its page, in swap, is the entry's own. It is neither's own any more: else both
//! sides get the same page, each to store to.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

const CHILD: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E18",
    title: "an entry in swap is exclusive on both sides of a fork",
    thread: "S3",
    guards: &[Guard::SharedAbsent],
    invariants: &["I-COW", "I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
    },
    actors: &[
        actor("fork", |cpu| {
            if let Some(Process(child)) = cpu.fork() {
                cpu.note(CHILD, child as u64);
            }
        }),
        actor("thread", |cpu| {
            cpu.store(X, 2);
        }),
    ],
    end: |cpu| {
        cpu.store(X, 7);
        cpu.switch_to(Process(cpu.noted(CHILD) as usize));
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
