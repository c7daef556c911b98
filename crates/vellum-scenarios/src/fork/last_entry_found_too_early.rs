//! E18, the last entry: an entry that is not exclusive is the only one left that names its slot, so whoever maps the
//! page may make it exclusive. A fork meanwhile gives a child another such entry, and leaves this one as it is: only
//! under the leaf's lock is it certain that there is no other.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

const CHILD: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E18L",
    title: "the last entry of a slot is found before a fork",
    thread: "S3",
    guards: &[Guard::LastUseUnderLock],
    invariants: &["I-COW", "I-LOST"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
        // Its entry is exclusive no more; the child ends.
        cpu.fork();
        cpu.exit(Process(1));
    },
    actors: &[
        actor("fork", |cpu| {
            if let Some(Process(child)) = cpu.fork() {
                cpu.note(CHILD, child as u64);
            }
        }),
        actor("thread", |cpu| {
            cpu.load(X);
        }),
    ],
    end: |cpu| {
        cpu.store(X, 7);
        cpu.switch_to(Process(cpu.noted(CHILD) as usize));
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
