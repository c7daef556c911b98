//! B9V: memory that nobody has stored to moves as fresh memory: no page goes along. A page that comes after somebody
//! has looked for one, and before the old place has gone, is lost.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, Y, actor};
use vellum::Guard;

/// Slot of the note: the page was stored to.
const STORED: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9V",
    title: "a page comes while memory without pages is moved",
    thread: "S1",
    guards: &[Guard::VacantUnderLock],
    alike: true,
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    further: Some(Bound { preemptions: 2, surprises: 0 }),
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
    },
    actors: &[
        actor("user", |cpu| {
            if cpu.store(X, 1) {
                cpu.note(STORED, 1);
            }
        }),
        actor("mremap", |cpu| {
            cpu.remap(X, 1, Y);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        let loaded = cpu.load(Y);
        cpu.expect_if_done(cpu.noted(STORED) == 0 || loaded == Some(1), "I-LOST", "what was stored before the move is not there");
    },
    ..Scenario::DEFAULT
};
