//! B24: the kernel has found the page that it copies to, and reclaim puts the page out before the copy is made. With
//! the lock of the leaf held from the look to the copy, reclaim waits for it.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B24L",
    title: "the kernel stores to a page that has been put out",
    guards: &[Guard::ReachedUnderLock],
    alike: true,
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("read(2)", |cpu| {
            cpu.copy_out(X, 2);
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
