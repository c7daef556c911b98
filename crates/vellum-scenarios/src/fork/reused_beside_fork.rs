//! D10, of a page that only loads were allowed on already: a fork leaves its entry as it is. A store finds that nobody
//! else has the page; fork gives it to a child; the store makes it writable in place, for both.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

const CHILD: usize = 0;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "D10R",
    title: "a page is made writable in place beside fork",
    guards: &[Guard::ReuseRecounted],
    invariants: &["I-VMA", "I-COW"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        // A child that ends again leaves the entry without the right to store.
        if let Some(child) = cpu.fork() {
            cpu.exit(child);
        }
    },
    actors: &[
        actor("thread", |cpu| {
            cpu.store(X, 2);
        }),
        actor("fork", |cpu| {
            if let Some(Process(child)) = cpu.fork() {
                cpu.note(CHILD, child as u64);
            }
        }),
    ],
    end: |cpu| {
        cpu.store(X, 3);
        cpu.switch_to(Process(cpu.noted(CHILD) as usize));
        cpu.expect_if_done(cpu.load(X) != Some(3), "I-COW", "the child has what was stored after the fork");
    },
    ..Scenario::DEFAULT
};
