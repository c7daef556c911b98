//! F11R, of a huge page of shared memory that moves as a whole: truncation has passed by its new place when it comes there. So a
//! move leaves behind one of which a part is being cut off.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Prot, Scenario, X, actor};

const OLD: At = At(2, 0);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F11RH",
    title: "a moved huge page of shared memory is kept when it is cut off",
    thread: "S4",
    guards: &[Guard::HugeLeftBehind],
    alike: true,
    invariants: &["I-GONE", "I-LOST", "I-RMAP"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_shared_memory(4);
        cpu.map_file(OLD, LEAF, Prot::ReadWrite, 0);
        cpu.store(OLD, 1);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(OLD, LEAF, X);
        }),
        actor("ftruncate", |cpu| {
            // The move's flush is not to interrupt it: less to search.
            cpu.switch_away();
            cpu.truncate(0);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X).is_none(), "I-GONE", "a load beyond the end of the memory"),
    ..Scenario::DEFAULT
};
