//! G5H: somebody looks an address up, with interrupts off, while the huge page there is no entry, to become a table. He
//! waits for who has the table's lock, and who has it waits for him to flush. No interrupt gets through to him: he
//! looks into his mailbox meanwhile, lock or not.

use crate::programs::{huge_page, protect_part};
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Mode, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G5H",
    title: "looking up what is split with interrupts off",
    thread: "S4",
    guards: &[Guard::ServeWhileLooking],
    invariants: &["I-PROG"],
    breaks: |mode: Mode| mode.semantics.mixed_sizes_fault && !mode.is_broadcast(),
    bound: Bound { preemptions: 1, surprises: 1 },
    start: huge_page,
    actors: &[
        actor("mprotect", protect_part),
        actor("device", |cpu| {
            cpu.with_interrupts_off(|| {
                let read = cpu.read_by_device(X);
                cpu.expect(read == Some(1), "I-ACCESS", "nothing is found where a page is all the time");
            });
        }),
    ],
    ..Scenario::DEFAULT
};
