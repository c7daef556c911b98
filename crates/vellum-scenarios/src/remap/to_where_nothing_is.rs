//! B9T: two threads move neighbours, one up and one down, to where there are no tables. The lowest table that covers either new
//! place is the one where all three places part, and a table has one claim at a time. Who moves down has it, and waits for
//! the old place; who moves up has that, and waits for the table. So there must be tables to be claimed below it.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Mode, Process, Prot, Scenario, X, actor};
use vellum::Guard;

const OLD: At = At(3, 0);
const NEXT: At = At(3, 1);
const ABOVE: At = At(11, 0);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9T",
    title: "two moves wait for the table where their places part",
    thread: "S1",
    guards: &[Guard::ClaimedBelowParting],
    // Elsewhere the places are near each other, and have one claim.
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-PROG"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        for (at, value) in [(OLD, 1), (NEXT, 2)] {
            cpu.map(at, 1, Prot::ReadWrite);
            cpu.store(at, value);
        }
        cpu.switch_away();
    },
    actors: &[
        actor("mremap up", |cpu| {
            cpu.switch_away();
            cpu.remap(OLD, 1, ABOVE);
        }),
        actor("mremap down", |cpu| {
            cpu.switch_away();
            cpu.remap(NEXT, 1, X);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        let loaded = (cpu.load(ABOVE), cpu.load(X));
        cpu.expect_if_done(loaded == (Some(1), Some(2)), "I-LOST", "a page has not come where it was moved to");
    },
    ..Scenario::DEFAULT
};
