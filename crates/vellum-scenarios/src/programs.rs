//! Programs that several scenarios look at, each with another protection off. With all of them on, a program is searched
//! once.

use vellum_lab::scenario::{LEAF, Process, Prot, Scenario, X, Y, actor};

/// A table becomes empty and is given back, while a fault puts another page there.
pub(crate) const EMPTIED_BESIDE_FAULT: Scenario = Scenario {
    program: "emptied beside a fault",
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise DONTNEED", |cpu| {
            cpu.dont_need(X, 1);
        }),
        actor("fault", |cpu| {
            cpu.store(Y, 2);
        }),
    ],
    ..Scenario::DEFAULT
};

/// A CPU becomes a target of flushes while another flushes.
pub(crate) const SWITCH_BESIDE_FLUSH: Scenario = Scenario {
    program: "a switch beside a flush",
    runs: |mode| !mode.is_broadcast(),
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.switch_away();
    },
    actors: &[
        actor("switch", |cpu| {
            cpu.switch_to(Process(0));
            cpu.load(X);
        }),
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
