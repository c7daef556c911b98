//! G6, of who asks whether a range is mapped throughout (`MADV_POPULATE_WRITE`): what separates two mappings goes while
//! the classes of their table are read, half before and half after, and one of the two seems to be missing.

use vellum_lab::scenario::{At, Prot, Scenario, X, Y, actor};
use vellum::Guard;

const LAST: At = At(0, 2);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G6N",
    title: "a mapping is not found while its neighbour changes",
    thread: "S2",
    guards: &[Guard::SpanReread],
    alike: true,
    invariants: &["I-VMA"],
    start: |cpu| {
        cpu.map(X, 1, Prot::Read);
        cpu.map(LAST, 1, Prot::ReadWrite);
    },
    actors: &[
        actor("mmap", |cpu| {
            cpu.map(Y, 1, Prot::ReadWrite);
        }),
        actor("populate", |cpu| {
            cpu.expect_if_done(cpu.populate(LAST, 1), "I-VMA", "a mapped page is taken for a hole");
        }),
    ],
    ..Scenario::DEFAULT
};
