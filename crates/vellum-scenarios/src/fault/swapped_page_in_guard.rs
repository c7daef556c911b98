//! G9, of guards and swap: a fault brings back a page that is in swap. Meanwhile a guard comes and takes the entry, and
//! the slot with it. If the fault does not look again, it maps the page there.

use vellum::Guard;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G9GS",
    title: "a fault brings a page back from swap into a guard",
    thread: "S2",
    guards: &[Guard::Recheck],
    alike: true,
    invariants: &["I-VMA", "I-LOST"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 1);
        cpu.swap_on(2);
        cpu.page_out(X, 1);
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
