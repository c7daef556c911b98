//! D7: a page that a device holds is put out to swap, and put back since the device holds it. If its entry has
//! forgotten meanwhile that the page is the entry's own, a store copies it, and the device goes on with the page that
//! was.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "D7",
    title: "exclusiveness is lost across swap",
    thread: "S3",
    guards: &[Guard::ExclusiveKept],
    invariants: &["I-PIN"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
    },
    actors: &[
        actor("device, user", |cpu| {
            let seen = cpu.while_held(X, || {
                cpu.store(X, 2);
            });
            let is_it = seen.is_none_or(|value| value == 2);
            cpu.expect_if_done(is_it, "I-PIN", "the device reads another page than the user has stored to");
        }),
        actor("page-out", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
