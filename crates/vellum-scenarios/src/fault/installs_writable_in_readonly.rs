//! G9: a fault sees that stores are allowed, and prepares a page. Meanwhile mprotect takes the right away; there is no
//! page yet whose entry it could change. If the fault does not look again, its page can be stored to for ever.

use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G9",
    title: "a fault installs a writable page in a read-only mapping",
    thread: "S2",
    guards: &[Guard::Recheck],
    alike: true,
    invariants: &["I-VMA"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(X, 1, Prot::Read);
        }),
        actor("fault", |cpu| {
            cpu.store(X, 2);
        }),
    ],
    end: |cpu| cpu.expect(!cpu.store(X, 3), "I-VMA", "a store to a read-only mapping succeeds"),
    ..Scenario::DEFAULT
};
