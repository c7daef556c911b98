//! B9T: two threads move neighbours, one up and one down, to where there are no tables. The lowest table that covers
//! either new place is the one where all three places part, and a table has one claim at a time. Who moves down has it,
//! and waits for the old place; who moves up has that, and waits for the table. So there must be tables to be claimed
//! below it.

use crate::programs::{have_come, move_page, two_pages};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Mode, Scenario, X, actor};
use vellum::Guard;

const OLD: At = At(3, 0);
const NEXT: At = At(3, 1);
const ABOVE: At = At(11, 0);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9T",
    title: "two moves wait for the table where their places part",
    thread: "S1",
    guards: &[Guard::ClaimedBelowParting],
    alike: true,
    // Elsewhere the places are near each other, and have one claim.
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-PROG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| two_pages(cpu, [OLD, NEXT]),
    actors: &[
        actor("mremap up", |cpu| move_page(cpu, OLD, ABOVE)),
        actor("mremap down", |cpu| move_page(cpu, NEXT, X)),
    ],
    end: |cpu| have_come(cpu, [ABOVE, X]),
    ..Scenario::DEFAULT
};
