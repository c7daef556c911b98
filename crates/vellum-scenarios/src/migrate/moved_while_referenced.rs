//! F2: a page's frame is replaced while a device has a reference to it. What the device stores to the old frame
//! afterwards, nobody sees; nor what it stores between the copy and the count of the references, if it lets go then.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F2",
    title: "a page is moved while somebody has a reference to it",
    guards: &[Guard::MoveCounted, Guard::CopyAfterCount],
    alike: true,
    invariants: &["I-LOST"],
    nodes: 2,
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        // No flush goes to the device.
        cpu.switch_away();
    },
    actors: &[
        actor("device", |cpu| {
            cpu.write_by_device(X, 2);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(X, 1, 1);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
