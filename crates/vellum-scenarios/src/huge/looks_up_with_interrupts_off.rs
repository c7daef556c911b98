//! G5H: somebody looks an address up, with interrupts off, while the huge page there is no entry, to become a table. He waits for
//! who has the table's lock, and who has it waits for him to flush. No interrupt gets through to him: he looks into his mailbox
//! meanwhile, lock or not.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Mode, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G5H",
    title: "looking up what is split with interrupts off",
    thread: "S4",
    guards: &[Guard::ServeWhileLooking],
    invariants: &["I-PROG"],
    breaks: |mode: Mode| mode.semantics.mixed_sizes_fault && !mode.is_broadcast(),
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(At(0, 2), 1, Prot::Read);
        }),
        actor("device", |cpu| {
            cpu.with_interrupts_off(|| {
                let read = cpu.read_by_device(X);
                cpu.expect(read == Some(1), "I-ACCESS", "nothing is found where a page is all the time");
            });
        }),
    ],
    ..Scenario::DEFAULT
};
