//! G6: a fault reads what a page is mapped with while its neighbour's mapping changes, half of it before and half
//! after: it takes the neighbour's rights for its own, and the program gets a signal for a store that is allowed. What
//! was read counts only if the sequence number is still the same.

use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G6",
    title: "a mapping is read half before a change and half after",
    thread: "S2",
    guards: &[Guard::SequenceReread],
    alike: true,
    invariants: &["I-ACCESS"],
    start: |cpu| {
        cpu.map(X, 3, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(X, 1, Prot::Read);
        }),
        actor("fault", |cpu| {
            cpu.expect(cpu.store(Y, 2), "I-ACCESS", "a signal for a store to writable memory");
        }),
    ],
    ..Scenario::DEFAULT
};
