//! F11, of an entry that is nobody's yet: truncation looks at a child that fork is making, and has nothing to take
//! there yet; then fork copies an entry from the parent, a private copy here, and then truncation takes the parent's.
//! Hence truncation comes to parents first: what is copied before is found in the child.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

const CHILD: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F11F",
    title: "a child of fork keeps a page that was truncated",
    guards: &[Guard::ParentsCutFirst],
    alike: true,
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
