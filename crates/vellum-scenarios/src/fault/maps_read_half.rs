//! G6, of who asks what is mapped (`/proc/PID/maps`): the answer is put together of what was there before a change and
//! of what is there after it, and says of a neighbour what was never so.

use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G6M",
    title: "the mappings are listed half before a change and half after",
    thread: "S2",
    guards: &[Guard::SpanReread],
    invariants: &["I-VMA"],
    start: |cpu| {
        cpu.map(X, 3, Prot::ReadWrite);
    },
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(X, 1, Prot::Read);
        }),
        actor("maps", |cpu| {
            let maps = cpu.maps();
            let is_before = maps.ends_with(" READ|WRITE") && !maps.contains(';');
            let is_after = maps.ends_with(" READ|WRITE") && maps.matches("READ; ").count() == 1;
            cpu.expect(is_before || is_after, "I-VMA", &format!("mappings that never were: {maps}"));
            cpu.expect(cpu.is_mapped(Y), "I-VMA", "a mapped page is not listed");
        }),
    ],
    ..Scenario::DEFAULT
};
