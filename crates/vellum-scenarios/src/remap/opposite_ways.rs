//! B9O: two threads move pages between the same two places, one up and one down. Each place is claimed for itself, as they lie
//! far apart. Who would begin with the old one could have what the other waits for, and wait for what the other has.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Mode, Process, Prot, Scenario, X, Y, actor};
use vellum::Guard;

/// Two pages that are far from X.
const FAR: At = At(11, 0);
const NEAR_FAR: At = At(11, 1);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9O",
    title: "two moves wait for each other's places",
    thread: "S1",
    guards: &[Guard::LowerClaimedFirst],
    // Elsewhere the places are near each other, and have one claim.
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-PROG"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        for (at, value) in [(X, 1), (NEAR_FAR, 2)] {
            cpu.map(at, 1, Prot::ReadWrite);
            cpu.store(at, value);
        }
        cpu.switch_away();
    },
    actors: &[
        actor("mremap up", |cpu| {
            cpu.switch_away();
            cpu.remap(X, 1, FAR);
        }),
        actor("mremap down", |cpu| {
            cpu.switch_away();
            cpu.remap(NEAR_FAR, 1, Y);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        let loaded = (cpu.load(FAR), cpu.load(Y));
        cpu.expect_if_done(loaded == (Some(1), Some(2)), "I-LOST", "a page has not come where it was moved to");
    },
    ..Scenario::DEFAULT
};
