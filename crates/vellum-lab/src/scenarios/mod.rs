//! The scenarios, one file each, by their ids in the catalogue.

mod b1;

use crate::scenario::Scenario;

/// All scenarios.
pub const ALL: &[&Scenario] = &[&b1::SCENARIO];

/// The scenario `id`.
pub fn find(id: &str) -> Option<&'static Scenario> {
    ALL.iter().copied().find(|scenario| scenario.id.eq_ignore_ascii_case(id))
}
