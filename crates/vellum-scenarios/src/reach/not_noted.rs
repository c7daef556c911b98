//! B24: the kernel copies to a page that is in swap, too, and does not note that in the entry, as a processor would.
//! Reclaim finds the page clean and drops it: what was copied is lost. (Where a
//! store through a clean entry does not look at the table, a page with a writable entry never passes for clean.)

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B24",
    title: "a page that the kernel stored to passes for clean",
    guards: &[Guard::ReachNoted],
    breaks: |mode| mode.semantics.clean_store_rewalks,
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        // It comes back clean, and keeps its slot.
        cpu.page_out(X, 1);
        cpu.load(X);
    },
    actors: &[
        actor("read(2)", |cpu| {
            cpu.copy_out(X, 2);
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
