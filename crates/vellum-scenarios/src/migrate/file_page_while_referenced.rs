//! F2, of a page of a file: what a device stores to the old frame is lost if the frame is replaced while the device has
//! a reference, and also if the contents were copied before it was certain that nobody has one.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F2F",
    title: "a file's page is moved while somebody has a reference to it",
    guards: &[Guard::MoveFrozen, Guard::CopyAfterFreeze],
    alike: true,
    invariants: &["I-LOST", "I-REF", "I-COUNT", "I-ASSERT"],
    nodes: 2,
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
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
