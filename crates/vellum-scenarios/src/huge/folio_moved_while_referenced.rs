//! F2, of a huge page: all of it goes to another node while a device has a reference to a page of it. What the device
//! stores to the old frame afterwards, nobody sees.

use vellum::Guard;
use vellum_lab::scenario::{LEAF, Process, Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F2H",
    title: "a huge page is moved while somebody has a reference to a page of it",
    thread: "S4",
    guards: &[Guard::MoveCounted, Guard::CopyAfterCount],
    alike: true,
    invariants: &["I-LOST"],
    nodes: 2,
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(Y, 1);
        // No flush goes to the device.
        cpu.switch_away();
    },
    actors: &[
        actor("device", |cpu| {
            cpu.write_by_device(Y, 2);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(X, 4, 1);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.load(Y);
    },
    ..Scenario::DEFAULT
};
