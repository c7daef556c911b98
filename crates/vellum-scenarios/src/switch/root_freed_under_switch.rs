//! J10, of a CPU that switches to another process at that moment: it may be out of the first one's set only when it has
//! the other's root, or nobody asks it to leave tables that are about to be freed.

use vellum_lab::scenario::{Process, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J10S",
    title: "a space is freed while a lazy CPU switches to another",
    guards: &[Guard::LeaveBeforeFree],
    alike: true,
    invariants: &["I-PTFREE", "I-UAF"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.new_process();
        cpu.enter_lazy();
    },
    actors: &[
        actor("lazy, then user of another", |cpu| {
            cpu.speculate(Y);
            cpu.switch_to(Process(1));
        }),
        actor("user, exit", |cpu| {
            // The processor of the other CPU may look at the tables at any time from now on, not only when it likes.
            cpu.store(Y, 1);
            cpu.switch_away();
            cpu.exit(Process(0));
        }),
    ],
    ..Scenario::DEFAULT
};
