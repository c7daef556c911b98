//! G2: a fault reads that the page is mapped, without a lock, and prepares a page. Meanwhile the mapping goes. If the
//! fault does not look again under the table's lock, which the unmapping takes too, it installs a page in no mapping.

use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G2",
    title: "a fault installs a page where the mapping has gone",
    thread: "S2",
    guards: &[Guard::Recheck],
    alike: true,
    invariants: &["I-VMA"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(Y, 1);
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("fault", |cpu| {
            cpu.store(X, 2);
        }),
    ],
    end: |cpu| cpu.expect(cpu.translate(X).is_none(), "I-VMA", "a page that no mapping covers"),
    ..Scenario::DEFAULT
};
