//! B25L, as B13: a lazy CPU is spared the flush for a leaf that was taken out of the tree with what it shows, and no
//! other table. Its processor may walk it at any time, by way of an upper entry it has cached.

use vellum::Guard;
use vellum_lab::scenario::{At, Prot, Scenario, TWO_LEAVES, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B25L",
    title: "a lazy CPU walks a freed leaf that was detached",
    guards: &[Guard::TablesFlushLazy],
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-PTFREE"],
    start: |cpu| {
        cpu.map(X, TWO_LEAVES, Prot::ReadWrite);
        cpu.map(At(2, 0), 1, Prot::ReadWrite);
        cpu.store(At(2, 0), 1);
        cpu.store(X, 1);
        cpu.enter_lazy();
    },
    actors: &[
        actor("lazy", |cpu| cpu.speculate(Y)),
        actor("munmap", |cpu| {
            cpu.unmap(X, TWO_LEAVES);
            (0..3).for_each(|_| cpu.quiesce());
        }),
    ],
    ..Scenario::DEFAULT
};
