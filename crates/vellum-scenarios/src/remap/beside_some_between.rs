//! B9U: while a page moves down from far, somebody takes a right away from all between, and from the page. He does not
//! wait for who moves and has claimed the new place only; so that one waits for him, or the right comes back.

use crate::programs::{is_protected, move_beside_protect, move_page, protect_between};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Mode, Scenario, X, Y, actor};
use vellum::Guard;

const BETWEEN: At = At(7, 0);
const FAR: At = At(11, 0);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9U",
    title: "a move passes by who has claimed its old place and does not wait for it",
    thread: "S1",
    guards: &[Guard::OthersAwaited],
    alike: true,
    // Elsewhere the places are near each other, and have one claim.
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-VMA"],
    bound: Bound { preemptions: 2, surprises: 0 },
    // The new place has a leaf.
    start: |cpu| move_beside_protect(cpu, Y, BETWEEN, FAR),
    actors: &[
        actor("mremap", |cpu| move_page(cpu, FAR, X)),
        actor("mprotect", |cpu| protect_between(cpu, BETWEEN)),
    ],
    end: |cpu| is_protected(cpu, X),
    ..Scenario::DEFAULT
};
