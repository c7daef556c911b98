//! J14, of a sender who cannot post: two processes end, and a CPU is to leave both. It had one loaded when that began
//! to end, and has the other one by now. While the second sender finds that his request does not fit beside the first,
//! he holds the mailbox's lock; the CPU comes for the first, finds it locked, and leaves. So that sender has to send an
//! interrupt, too, though he has posted nothing.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Mode, Process, Scenario, actor};

const ENTERED: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J14D",
    title: "a refused request keeps the owner from its mail",
    guards: &[Guard::RefusedInterrupts],
    // The order of stores, the marks in entries and how others are told of flushes are no part of it, and the search is
    // long.
    runs: |mode| mode == Mode::ASSIST_SC,
    invariants: &["I-PROG"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        cpu.new_process();
        cpu.enter_lazy();
    },
    actors: &[
        actor("lazy", |cpu| {
            cpu.switch_to(Process(1));
            cpu.enter_lazy();
            cpu.note(ENTERED, 1);
        }),
        actor("exit", |cpu| {
            cpu.switch_away();
            cpu.exit(Process(0));
        }),
        actor("exit of the other", |cpu| {
            cpu.switch_away();
            if cpu.noted(ENTERED) == 1 {
                cpu.exit(Process(1));
            }
        }),
    ],
    ..Scenario::DEFAULT
};
