//! F13: a fault makes a page of shared memory and puts it where others find it, before it looks at the length again.
//! The memory was truncated meanwhile, and whoever truncates has passed by. Until the fault takes the page back, another
//! finds it, and maps it: it stays mapped beyond the end, and is nobody's page.

use vellum_lab::scenario::{Known, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F13",
    title: "a page is published before the length is looked at again",
    known: Some(Known { fault: "D4: a page of shared memory is published before the last check", breaks: |_| true }),
    invariants: &["I-GONE", "I-REF"],
    // What the processor does makes no difference, but for who is interrupted.
    runs: |mode| !mode.is_tso() || mode.is_broadcast(),
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
