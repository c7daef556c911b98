//! F13: a fault makes a page of shared memory and puts it where others find it, before it looks at the length again.
//! The memory was truncated meanwhile, and whoever truncates has passed by. Until the fault takes the page back,
//! another finds it, and maps it: it stays mapped beyond the end, and is nobody's page.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Mode, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F13",
    title: "a page is published before the length is looked at again",
    guards: &[Guard::LastLookFirst],
    invariants: &["I-GONE", "I-REF"],
    // Without interrupts there is less to search; and what else the processor does makes no difference.
    runs: Mode::is_broadcast,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_shared_memory(2);
        cpu.map_file(X, 1, Prot::ReadWrite, 1);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.store(X, 1);
        }),
        actor("ftruncate", |cpu| {
            cpu.truncate(1);
        }),
        actor("other fault", |cpu| {
            cpu.store(X, 2);
        }),
    ],
    end: |cpu| {
        cpu.expect_if_done(cpu.load(X).is_none(), "I-GONE", "a load beyond the end of the memory");
    },
    ..Scenario::DEFAULT
};
