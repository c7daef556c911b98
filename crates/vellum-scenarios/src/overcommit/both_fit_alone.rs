//! O1: two threads map memory under a limit into which one of both fits. Each adds up what is committed before it says
//! that it is about to commit more: both find room. If both say so first, the later one finds the other's word, or its
//! pages; and the earlier one goes on, as it does not look at later ones.

use vellum_lab::scenario::{At, Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "O1",
    title: "two mappings are promised memory that is there for one",
    guards: &[Guard::TicketFirst],
    invariants: &["I-COMMIT"],
    start: |cpu| {
        cpu.limit_commitment(1);
        // Tables of their own, or they would wait for each other's claim.
        cpu.map(At(0, 2), 1, Prot::Read);
        cpu.map(At(1, 2), 1, Prot::Read);
    },
    actors: &[
        actor("mmap", |cpu| {
            cpu.map(X, 1, Prot::ReadWrite);
        }),
        actor("mmap", |cpu| {
            cpu.map(Z, 1, Prot::ReadWrite);
        }),
    ],
    end: |cpu| {
        cpu.expect(cpu.committed() <= 1, "I-COMMIT", "more is committed than may be");
        cpu.expect(cpu.committed() > 0, "I-COMMIT", "neither of two was given what there is for one");
    },
    ..Scenario::DEFAULT
};
