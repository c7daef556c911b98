//! B17: a table is unlinked, and a fault puts another one in its place before the flush. Then one CPU caches the old
//! table and another the new one, which architectures that want entries broken before they are made do not allow. The
//! core makes faults that need a table wait until an operation in their range is done.

use crate::programs;
use vellum::Guard;
use vellum_lab::scenario::Scenario;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B17",
    title: "a table takes another's place before the flush",
    guards: &[Guard::TablesBreakBeforeMake],
    breaks: |mode| mode.semantics.break_before_make,
    invariants: &["I-BBM"],
    ..programs::EMPTIED_BESIDE_FAULT
};
