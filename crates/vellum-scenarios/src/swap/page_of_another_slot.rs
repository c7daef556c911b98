//! E12: a thread finds its page in the swap cache. Before it has the page's lock, another copies the page; its last
//! user, a child, ends; and the copy goes to the same slot. Entry and slot look as before, but the page that the first
//! thread has is not that of the slot. (A store to the page itself would be found by the reference.)

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E12",
    title: "a page of the swap cache is not that of the slot any more",
    guards: &[Guard::SlotUnderLock],
    alike: true,
    // Where a flush interrupts the reader it goes on: it takes more pre-emptions to hold it back.
    breaks: |mode| mode.is_broadcast(),
    invariants: &["I-LOST"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
        cpu.fork();
    },
    actors: &[
        actor("reader", |cpu| {
            cpu.load(X);
        }),
        actor("writer", |cpu| {
            cpu.store(X, 2);
            cpu.exit(Process(1));
            // The copy is not exclusive any more; so its entry will look like the old one.
            if let Some(child) = cpu.fork() {
                cpu.exit(child);
            }
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
