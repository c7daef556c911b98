//! B24, of a page of a file: the kernel has found that the page may be stored to, and write-back makes the entry clean
//! and writes the page before the copy is made. Nobody writes the page again.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B24W",
    title: "the kernel stores to a page that has just been written back",
    guards: &[Guard::ReachedUnderLock],
    alike: true,
    invariants: &["I-DIRTY"],
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 1);
    },
    actors: &[
        actor("read(2)", |cpu| {
            cpu.copy_out(X, 2);
        }),
        actor("msync", |cpu| {
            cpu.write_back();
        }),
    ],
    end: |cpu| {
        cpu.write_back();
    },
    ..Scenario::DEFAULT
};
