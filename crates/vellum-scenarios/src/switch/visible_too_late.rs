//! J1: a CPU enters a space's set of targets with a plain store, which waits in its store buffer while the CPU reads
//! the generation. A flusher in between sees neither: the CPU keeps what it had cached of the space.

use vellum_lab::scenario::{Mode, Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J1",
    title: "a switch becomes visible after it has read the generation",
    guards: &[Guard::TargetBarrier],
    runs: |mode| !mode.is_broadcast(),
    breaks: Mode::is_tso,
    invariants: &["I-GEN", "I-TLBFREE"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.switch_away();
    },
    actors: &[
        actor("switch", |cpu| {
            cpu.switch_to(Process(0));
            cpu.load(X);
        }),
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
