//! F13H: a fault adds a huge page to shared memory, and uses it before it looks at the length again. The memory was
//! made shorter meanwhile, and whoever did that has passed by: of the huge page there are pages behind the end, that
//! others find.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F13H",
    title: "a huge page is added to memory that has become shorter",
    thread: "S4",
    guards: &[Guard::FolioLastLook],
    invariants: &["I-GONE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_shared_memory(4);
        cpu.map_file(X, LEAF, Prot::ReadWrite, 0);
    },
    actors: &[
        actor("fault", |cpu| {
            cpu.store(X, 1);
        }),
        actor("ftruncate", |cpu| {
            cpu.truncate(1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(Y).is_none(), "I-GONE", "a load beyond the end of the memory"),
    ..Scenario::DEFAULT
};
