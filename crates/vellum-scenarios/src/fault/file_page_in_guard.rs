//! G9, of guards and files: a fault has looked a page of the file up. Meanwhile a guard comes. If the fault does not
//! look again, it shows the page there.

use vellum::Guard;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G9GF",
    title: "a fault shows a page of a file in a guard",
    thread: "S2",
    guards: &[Guard::Recheck],
    alike: true,
    invariants: &["I-VMA"],
    start: |cpu| {
        cpu.map_file(X, 2, Prot::ReadWrite, 0);
        cpu.load(Y);
    },
    actors: &[
        actor("GUARD_INSTALL", |cpu| {
            cpu.install_guard(X, 1);
        }),
        actor("fault", |cpu| {
            cpu.load(X);
        }),
    ],
    end: |cpu| {
        cpu.expect(cpu.translate(X).is_none(), "I-VMA", "a page in a guard");
        cpu.expect(cpu.load(X).is_none(), "I-VMA", "an access to a guard succeeds");
    },
    ..Scenario::DEFAULT
};
