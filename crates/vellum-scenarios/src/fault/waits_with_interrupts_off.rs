//! G5: a fault with interrupts off waits for a table's lock, whose holder waits for this CPU to flush. No interrupt
//! gets through to it; so who waits for a lock looks into its mailbox meanwhile.

use vellum_lab::scenario::{Mode, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G5",
    title: "waiting for a table's lock with interrupts off",
    thread: "S2",
    guards: &[Guard::ServeWhileLocking],
    alike: true,
    breaks: |mode: Mode| !mode.is_broadcast(),
    invariants: &["I-PROG"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("fault", |cpu| {
            cpu.with_interrupts_off(|| cpu.store(Y, 2));
        }),
    ],
    ..Scenario::DEFAULT
};
