//! B9X: as B9U, where who takes the right away begins in the slot of the uppermost table in which the new place is,
//! behind that: by the slots of his claim he seems to wait for who moves, and does not.

use crate::programs::{is_protected, move_beside_protect, move_page, protect_between};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Mode, Scenario, actor};
use vellum::Guard;

const NEW: At = At(4, 0);
const BETWEEN: At = At(6, 0);
const FAR: At = At(10, 0);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9X",
    title: "a move passes by who seems to have claimed both of its places",
    thread: "S1",
    guards: &[Guard::OthersAwaited],
    alike: true,
    // Elsewhere the places are near each other, and have one claim.
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-VMA"],
    bound: Bound { preemptions: 2, surprises: 0 },
    // The new place has a leaf.
    start: |cpu| move_beside_protect(cpu, At(4, 1), BETWEEN, FAR),
    actors: &[
        actor("mremap", |cpu| move_page(cpu, FAR, NEW)),
        actor("mprotect", |cpu| protect_between(cpu, BETWEEN)),
    ],
    end: |cpu| is_protected(cpu, NEW),
    ..Scenario::DEFAULT
};
