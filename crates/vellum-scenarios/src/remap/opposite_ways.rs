//! B9O: two threads move pages between the same two places, one up and one down. Each place is claimed for itself, as
//! they lie far apart. Who would begin with the old one could have what the other waits for, and wait for what the
//! other has.

use crate::programs::{have_come, move_page, two_pages};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Mode, Scenario, X, Y, actor};
use vellum::Guard;

/// Two pages that are far from X.
const FAR: At = At(11, 0);
const NEAR_FAR: At = At(11, 1);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9O",
    title: "two moves wait for each other's places",
    thread: "S1",
    guards: &[Guard::LowerClaimedFirst],
    alike: true,
    // Elsewhere the places are near each other, and have one claim.
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-PROG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| two_pages(cpu, [X, NEAR_FAR]),
    actors: &[
        actor("mremap up", |cpu| move_page(cpu, X, FAR)),
        actor("mremap down", |cpu| move_page(cpu, NEAR_FAR, Y)),
    ],
    end: |cpu| have_come(cpu, [FAR, Y]),
    ..Scenario::DEFAULT
};
