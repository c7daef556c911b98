//! B11: a walker that has switched interrupts off reads a table that is being freed. Where flushes are interrupts, the
//! flush for the unlinked table waits for the walker, and no more is needed (the negative control). Where they are
//! broadcasts nobody waits for him, but the grace period.

use vellum_lab::scenario::{Mode, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B11",
    title: "a table is freed under a walker with interrupts off",
    guards: &[Guard::GracePeriod],
    alike: true,
    breaks: Mode::is_broadcast,
    invariants: &["I-PTFREE"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("walker", |cpu| {
            cpu.with_interrupts_off(|| cpu.translate(X));
        }),
    ],
    ..Scenario::DEFAULT
};
