//! B9W: while a page moves far, somebody unmaps all from its old place to the new one. He has claimed it all, and waits
//! for the claim of the old place. Who moves has that, comes to claim the new place, and meets the claim of him who
//! waits.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Mode, Process, Prot, Scenario, X, actor};
use vellum::Guard;

const FAR: At = At(11, 0);
/// Pages from X to there: eleven leaves of four, and one.
const ALL: u64 = 45;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9W",
    title: "a move waits for who waits for its old place",
    thread: "S1",
    guards: &[Guard::WaiterPassed],
    alike: true,
    // Elsewhere the places are near each other, and have one claim.
    runs: |mode| Mode::TOYS.contains(&mode),
    invariants: &["I-PROG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.switch_away();
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.switch_away();
            cpu.remap(X, 1, FAR);
        }),
        actor("munmap", |cpu| {
            cpu.switch_away();
            cpu.unmap(X, ALL);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        let loaded = cpu.load(FAR);
        cpu.expect_if_done(loaded.is_none(), "I-GONE", "what was unmapped is there");
    },
    ..Scenario::DEFAULT
};
