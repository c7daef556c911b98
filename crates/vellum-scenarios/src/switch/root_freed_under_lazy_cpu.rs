//! J10: a process ends while a CPU still has its root loaded, lazily: the processor may walk freed tables. So it may if
//! the CPU leaves at that moment, and says so before it has left.

use vellum_lab::scenario::{Process, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J10",
    title: "a space is freed while a lazy CPU has its root loaded",
    guards: &[Guard::LeaveBeforeFree],
    alike: true,
    invariants: &["I-PTFREE", "I-UAF"],
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.enter_lazy();
    },
    actors: &[
        actor("lazy", |cpu| {
            cpu.speculate(Y);
            cpu.switch_away();
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
