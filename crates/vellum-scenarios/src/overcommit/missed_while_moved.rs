//! O2: a thread maps memory under a limit, and adds up what the CPUs have committed. Another moves a mapping meanwhile:
//! its CPU has already counted that it is gone from the old place, and not yet that it is at the new one. So it is
//! missed. A move says when it begins; who finds that, after he has added up, does it again, and finds what the move
//! has said of its size.

use vellum_lab::scenario::{Prot, Scenario, X, Y, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "O2",
    title: "what is being moved is not seen to be committed",
    guards: &[Guard::MovesAwaited],
    invariants: &["I-COMMIT"],
    start: |cpu| {
        cpu.limit_commitment(1);
        cpu.map(X, 1, Prot::ReadWrite);
    },
    actors: &[
        actor("mmap", |cpu| {
            cpu.map(Z, 1, Prot::ReadWrite);
        }),
        actor("mremap", |cpu| {
            cpu.remap(X, 1, Y);
        }),
    ],
    end: |cpu| cpu.expect(cpu.committed() == 1, "I-COMMIT", "more is committed than may be"),
    ..Scenario::DEFAULT
};
