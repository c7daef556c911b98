//! G2HU: a fault has cleared a huge page for a mapping that is gone when it installs it.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G2HU",
    title: "a huge page is installed where the mapping has gone",
    thread: "S4",
    guards: &[Guard::Recheck],
    invariants: &["I-VMA", "I-COUNT"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        // Of several leaves, so that the class lies in the upper table.
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.map(Z, LEAF, Prot::ReadWrite);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, LEAF);
        }),
        actor("fault", |cpu| {
            cpu.store(X, 2);
        }),
    ],
    end: |cpu| cpu.expect(cpu.translate(X).is_none(), "I-VMA", "a page that no mapping covers"),
    ..Scenario::DEFAULT
};
