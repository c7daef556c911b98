//! B9N: a move finds no table where its huge page is to come, and makes none. A fault in what is replaced there makes
//! one, before the move has begun to take that away: then the huge page has no place. So who moves huge pages waits for
//! such faults first, and those that come later wait for him.

use crate::programs::huge_page;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Mode, Prot, Scenario, X, actor};

/// Far from X, so that it is claimed for itself.
const NEW: At = At(11, 0);
const BESIDE: At = At(11, 1);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9N",
    title: "a fault makes a table where a huge page is moved to",
    thread: "S4",
    guards: &[Guard::NewPlaceFrozen],
    // Elsewhere the places are near each other, and have one claim.
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        huge_page(cpu);
        cpu.map(NEW, LEAF, Prot::ReadWrite);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(X, LEAF, NEW);
        }),
        actor("fault", |cpu| {
            cpu.store(BESIDE, 2);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(NEW) == Some(1), "I-LOST", "what was moved is not what was stored"),
    ..Scenario::DEFAULT
};
