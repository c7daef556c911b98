//! B13: a lazy CPU is spared the flush for a freed page table. It runs no user code, but its processor may walk the
//! tables at any time, by way of an upper entry it has cached.

use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B13",
    title: "a lazy CPU walks a freed table",
    thread: "S1",
    guards: &[Guard::TablesFlushLazy],
    alike: true,
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-PTFREE"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.enter_lazy();
    },
    actors: &[
        actor("lazy", |cpu| cpu.speculate(Y)),
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
            (0..3).for_each(|_| cpu.quiesce());
        }),
    ],
    ..Scenario::DEFAULT
};
