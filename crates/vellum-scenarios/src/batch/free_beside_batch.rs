//! A4, with `MADV_FREE`: it finds that the page is in swap, drops the slot, and owes no flush. A store after it returns
//! is to stay; through the old translation it goes to the frame that reclaim is about to free.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A4G",
    title: "MADV_FREE relies on a flush that a batch still owes",
    thread: "S1",
    guards: &[Guard::SettledByGiveUp],
    alike: true,
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("FREE, user", |cpu| {
            // As long as the page is there, this is another race (E19).
            if cpu.translate(X).is_none() {
                cpu.give_up(X, 1);
                cpu.store(X, 2);
            }
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
