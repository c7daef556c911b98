//! C10G: the huge page that shared memory is gathered in is found in the place of the small ones before their contents are there.
//! Who finds it waits for them, as for those of a page that is being read.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Process, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C10G",
    title: "a fault finds shared memory collapsed before it is copied",
    thread: "S4",
    guards: &[Guard::GatheredAwaited],
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        cpu.use_shared_memory(4);
        cpu.map_file(X, LEAF, Prot::ReadWrite, 0);
        cpu.store(X, 1);
        // No flush goes to the user.
        cpu.switch_away();
    },
    actors: &[
        actor("user", |cpu| {
            cpu.switch_to(Process(0));
            cpu.load(X);
        }),
        actor("madvise COLLAPSE", |cpu| {
            cpu.collapse(X);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.expect_if_done(cpu.load(X) == Some(1), "I-LOST", "the huge page lacks what was stored");
    },
    ..Scenario::DEFAULT
};
