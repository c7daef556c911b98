//! F11, of an entry that is nobody's yet: truncation looks which mappings there are of the file, and before it comes to
//! the parent's, fork makes another with the same entries, private copies here. Truncation passes the child by. Hence it
//! looks again when the pages have left the cache; or at the mappings again until there are no new ones. Either is enough
//! here.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

const CHILD: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F11F",
    title: "a child of fork keeps a page that was truncated",
    guards_redundant: &[Guard::UnmappedAgain, Guard::ChainReread],
    invariants: &["I-GONE", "I-LOST", "I-RMAP"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_private_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 1);
    },
    actors: &[
        actor("fork", |cpu| {
            let child = cpu.fork();
            cpu.note(CHILD, child.map_or(0, |child| child.0 as u64));
        }),
        actor("ftruncate", |cpu| {
            cpu.truncate(0);
        }),
    ],
    end: |cpu| {
        if cpu.noted(CHILD) == 0 {
            return;
        }
        cpu.switch_to(Process(cpu.noted(CHILD) as usize));
        cpu.expect_if_done(cpu.load(X).is_none(), "I-GONE", "a load of the child beyond the end of the file");
    },
    ..Scenario::DEFAULT
};
