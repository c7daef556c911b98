//! J2 and J8, of a CPU that comes from another process, in which it was lazy, while somebody leaves the one that it
//! enters: the flusher must not take it for lazy still, nor may it get lost from the set of targets.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J4S",
    title: "a CPU that was lazy elsewhere is skipped by a flush",
    guards: &[Guard::GenerationFirst, Guard::TargetFirst],
    alike: true,
    runs: |mode| !mode.is_broadcast(),
    invariants: &["I-GEN", "I-TLBFREE"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.new_process();
        cpu.switch_to(Process(1));
        cpu.enter_lazy();
    },
    actors: &[
        actor("lazy, then user of another", |cpu| {
            cpu.switch_to(Process(0));
            cpu.load(X);
        }),
        actor("leaves, comes back, munmap", |cpu| {
            cpu.switch_away();
            cpu.switch_to(Process(0));
            cpu.unmap(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
