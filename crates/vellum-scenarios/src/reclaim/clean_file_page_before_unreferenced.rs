//! I8, of a page of a file: reclaim finds that it is clean; a device which has a reference stores to it, says so, and
//! lets go; and the page leaves the cache without being written.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "I8F",
    title: "a file's page is found clean before its references are",
    thread: "S5",
    guards: &[Guard::DirtyAfterFreeze],
    alike: true,
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 1);
        cpu.write_back();
        // No flush goes to the device.
        cpu.switch_away();
    },
    actors: &[
        actor("device", |cpu| {
            cpu.transfer_to(X, 5);
        }),
        actor("reclaim", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
