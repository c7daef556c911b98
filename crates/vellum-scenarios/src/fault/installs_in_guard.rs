//! G9, of guards: a fault sees that stores are allowed, and prepares a page. Meanwhile a guard comes; there is no page
//! yet that it could take. If the fault does not look again, its page stays there, and can be stored to.

use vellum::Guard;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G9G",
    title: "a fault installs a page in a guard",
    thread: "S2",
    guards: &[Guard::Recheck],
    alike: true,
    invariants: &["I-VMA"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("GUARD_INSTALL", |cpu| {
            cpu.install_guard(X, 1);
        }),
        actor("fault", |cpu| {
            cpu.store(X, 2);
        }),
    ],
    end: |cpu| {
        cpu.expect(cpu.translate(X).is_none(), "I-VMA", "a page in a guard");
        cpu.expect(!cpu.store(X, 3), "I-VMA", "an access to a guard succeeds");
    },
    ..Scenario::DEFAULT
};
