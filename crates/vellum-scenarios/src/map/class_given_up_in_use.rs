//! G15: munmap takes the last page that shows a file at these addresses, and is about to give up the record that says
//! so. Just then its neighbour is mapped, in another table, to which the same record applies. It is in use again, and
//! stays.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Prot, Scenario, Z, actor};
use vellum::Guard;

/// The page before Z, in another table.
const BEFORE: At = At(0, 3);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G15",
    title: "the record of a mapping is given up while another mapping comes to use it",
    thread: "S2",
    guards: &[Guard::ClassUnderLock],
    alike: true,
    invariants: &["I-COUNT"],
    bound: Bound { preemptions: 1, surprises: 1 },
    further: Some(Bound { preemptions: 2, surprises: 0 }),
    start: |cpu| {
        cpu.map_file(BEFORE, 1, Prot::Read, 0);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(BEFORE, 1);
        }),
        actor("mmap", |cpu| {
            cpu.map_file(Z, 1, Prot::Read, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
