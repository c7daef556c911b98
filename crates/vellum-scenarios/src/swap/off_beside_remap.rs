//! E20: swap is switched off while a mapping is moved whose page is in swap. Its entry is at neither place for a
//! moment. Swapoff must wait for the move, and end.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E20",
    title: "swapoff beside mremap does not end",
    guards: &[Guard::UnmappedEntryAwaited, Guard::SwapOffFollowsMoves],
    alike: true,
    invariants: &["I-PROG", "I-ACCESS"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
    },
    actors: &[
        actor("swapoff", |cpu| {
            cpu.swap_off();
        }),
        actor("mremap", |cpu| {
            cpu.remap(X, 1, Z);
        }),
    ],
    ..Scenario::DEFAULT
};
