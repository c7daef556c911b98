//! G13, of a search for room: it has passed by a mapping that then moves to the only free page ahead of it. There has
//! been room all the time, and it has found none. What it has not found it must seek where nobody else maps anything.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Mode, Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G13N",
    title: "room that moves is not found",
    thread: "S2",
    guards: &[Guard::RoomSoughtAlone],
    // Elsewhere there is too much room to fill.
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-VMA"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        // Whatever else there is.
        while cpu.map_near(X, 1, Prot::ReadWrite) {}
        cpu.unmap(Z, 1);
    },
    actors: &[
        actor("mmap", |cpu| {
            cpu.expect_if_done(cpu.map_near(X, 1, Prot::ReadWrite), "I-VMA", "no room, and a page is free");
        }),
        actor("mremap", |cpu| {
            cpu.remap(X, 1, Z);
        }),
    ],
    ..Scenario::DEFAULT
};
