//! D8: a page is looked up without a lock, to be used by a device. Between the look at the entry and the reference the
//! frame may be freed and become another page, which has references of its own, so that one more can be had. Hence the
//! second look at the entry.

use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "D8",
    title: "a lockless lookup gets a reference to a foreign page",
    guards: &[Guard::TranslateRecheck],
    alike: true,
    invariants: &["I-REF"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("reuse", |cpu| {
            cpu.dont_need(X, 1);
            cpu.store(Y, 9);
        }),
        actor("device", |cpu| {
            let read = cpu.read_by_device(X);
            cpu.expect(read != Some(9), "I-REF", "the page held at X is that at Y");
        }),
    ],
    ..Scenario::DEFAULT
};
