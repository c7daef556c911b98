//! E19, of a mapping that comes in between: MADV_FREE finds private anonymous memory, as it must be; before it has the
//! range to itself a file is mapped there, privately, and stored to. The private copy is given up, although no program
//! has ever given up what that mapping has: whichever of the two came first, the store must be there. (Where a store
//! through a clean entry does not look at the table, every page with a writable entry counts as stored to, and stays.)

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E19M",
    title: "MADV_FREE gives up what was mapped meanwhile",
    thread: "S5",
    guards: &[Guard::AdviceUnderClaim],
    breaks: |mode| mode.semantics.clean_store_rewalks,
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise", |cpu| {
            cpu.give_up(X, 1);
        }),
        actor("mmap", |cpu| {
            cpu.map_private_file(X, 1, Prot::ReadWrite, 0);
            cpu.store(X, 2);
        }),
    ],
    end: |cpu| {
        cpu.page_out(X, 1);
        cpu.expect_if_done(cpu.load(X) == Some(2), "I-LOST", "a private copy of a file's page is given up");
    },
    ..Scenario::DEFAULT
};
