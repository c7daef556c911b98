//! G6, of a fault: a mapping is moved to where another one is, which goes first. Whoever uses the place meanwhile finds
//! either of the two there, and no hole between them.

use vellum_lab::scenario::{Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G6F",
    title: "an access finds a hole where one mapping replaces another",
    thread: "S2",
    guards: &[Guard::HoleAwaited],
    alike: true,
    invariants: &["I-VMA"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.map(Z, 1, Prot::ReadWrite);
        cpu.store(Z, 2);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(Z, 1, X);
        }),
        actor("user", |cpu| {
            cpu.expect_if_done(cpu.load(X).is_some(), "I-VMA", "a load of what is mapped all the time gets a signal");
        }),
    ],
    ..Scenario::DEFAULT
};
