//! B24: the kernel reads arguments from a page that another thread gives up meanwhile, and that another process gets:
//! it must not read what is there by then.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B24R",
    title: "the kernel reads from a page that is another process's",
    guards: &[Guard::ReachedUnderLock],
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("write(2)", |cpu| {
            cpu.copy_in(X);
        }),
        actor("madvise, another", |cpu| {
            cpu.dont_need(X, 1);
            if let Some(other) = cpu.new_process() {
                cpu.switch_to(other);
                cpu.map(X, 1, Prot::ReadWrite);
                cpu.store(X, 7);
            }
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
