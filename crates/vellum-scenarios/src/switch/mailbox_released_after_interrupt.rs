//! J14, of a store that is delayed: who has posted gives the mailbox's lock back and sends the interrupt, which comes
//! before that store does. The owner finds the mailbox locked, and leaves for another interrupt, which nobody sends.

use vellum::Guard;
use vellum_lab::scenario::{Mode, Process, Scenario, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J14S",
    title: "an interrupt comes before the mailbox is seen unlocked",
    guards: &[Guard::ReleasedBeforeInterrupt],
    alike: true,
    runs: Mode::is_tso,
    invariants: &["I-PROG"],
    start: |cpu| cpu.enter_lazy(),
    actors: &[
        actor("lazy", |cpu| cpu.switch_away()),
        actor("exit", |cpu| {
            cpu.switch_away();
            cpu.exit(Process(0));
        }),
    ],
    ..Scenario::DEFAULT
};
