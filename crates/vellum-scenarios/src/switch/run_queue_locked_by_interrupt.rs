//! J14: a scheduler switches with its run queue locked and interrupts off, and so waits for the lock of its mailbox.
//! Who holds that is posting a request there, with interrupts on; a device interrupts it, and the handler wakes
//! somebody up, for which it takes the run queue's lock. Both wait for ever. Who takes from a mailbox should try the
//! lock and go on if it is taken: the interrupt of whoever posts there is still to come.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J14",
    title: "a device's interrupt waits for who waits for a mailbox",
    runs: |mode| !mode.is_broadcast(),
    guards: &[Guard::MailLeft],
    alike: true,
    invariants: &["I-PROG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("scheduler", |cpu| cpu.with_run_queue(|| cpu.switch_away())),
        actor("device", |cpu| cpu.interrupt(0)),
    ],
    on_device: |cpu| cpu.with_run_queue(|| ()),
    ..Scenario::DEFAULT
};
