//! F17, of a page that is not cached: a fault adds it when who makes the hole has passed by, and reads it before the
//! backing has made the hole. Hence it looks once more when it has added the page.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F17A",
    title: "a page of a hole is read before the backing has made it",
    guards: &[Guard::HoleLookedForAgain],
    alike: true,
    invariants: &["I-LOST", "I-GONE"],
    bound: Bound { preemptions: 2, surprises: 0 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 1);
        cpu.unmap(X, 1);
        cpu.write_back();
        cpu.reclaim(1);
        cpu.map_file(X, 1, Prot::Read, 0);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.load(X);
        }),
        actor("hole", |cpu| {
            cpu.punch(0, 1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(0), "I-GONE", "what was stored before the hole was made"),
    ..Scenario::DEFAULT
};
