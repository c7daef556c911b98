//! J4: a lazy CPU is skipped by a flush, returns to the same space, and runs on with what it had cached: its root is
//! loaded, so nothing would make it look.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J4",
    title: "a CPU leaves lazy mode without having seen a flush",
    guards: &[Guard::LazyCompares],
    alike: true,
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-GEN", "I-TLBFREE"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.enter_lazy();
    },
    actors: &[
        actor("lazy, then user", |cpu| {
            cpu.switch_to(Process(0));
            cpu.load(X);
        }),
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
