//! One search, and whether it found what the scenario says.

use vellum_lab::explore::{Broken, Schedule};
use vellum_lab::scenario::{Check, Finding, check, replay};

/// What a scenario says about a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing breaks.
    Clean,
    /// Something breaks.
    Violation,
    /// Something breaks although every guard is on: a fault of the core that is known.
    KnownFault,
}

/// A search to be made.
pub struct Search {
    pub check: Check,
    /// `None`: nothing in particular.
    pub expected: Option<Expected>,
}

/// What came of it.
pub struct Found {
    /// An `Err` says why the search itself failed.
    pub finding: Result<Finding, String>,
    /// If something broke: what broke when the schedule was run again, and the diagram.
    pub replayed: Option<Result<(Option<Broken>, String), String>>,
}

impl Search {
    /// Searches. What is found is run again, to see whether it can be.
    pub fn run(&self) -> Found {
        let finding = check(&self.check);
        let violation = finding.as_ref().ok().and_then(|finding| finding.violation.as_ref());
        let replayed = violation.map(|(_, schedule)| replay(&self.check, schedule));
        Found { finding, replayed }
    }

    /// The names of the guards that are off, as the command line spells them.
    pub fn guards_off(&self) -> Option<String> {
        let names: Vec<&str> = self.check.guards_off.iter().map(|guard| guard.name()).collect();
        (!names.is_empty()).then(|| names.join(","))
    }

    /// The command that runs `schedule` again.
    pub fn command(&self, schedule: &Schedule) -> String {
        let without = self.guards_off().map(|names| format!(" --without {names}")).unwrap_or_default();
        format!("vellum check {} --arch {}{without} --replay '{schedule}'", self.check.scenario.id, self.check.mode)
    }
}

impl Found {
    /// What broke.
    pub fn violation(&self) -> Option<&(Broken, Schedule)> {
        self.finding.as_ref().ok()?.violation.as_ref()
    }

    /// The search ended for want of time.
    pub fn is_cut_off(&self) -> bool {
        self.finding.as_ref().is_ok_and(|finding| finding.violation.is_none() && !finding.exhaustive)
    }

    /// Why this is not what was expected, or no sound result.
    pub fn objection(&self, search: &Search) -> Option<String> {
        let finding = match &self.finding {
            Ok(finding) => finding,
            Err(_) => return Some("the search itself failed".into()),
        };
        let Some((broken, _)) = &finding.violation else {
            return match search.expected {
                Some(Expected::Violation) => Some("a violation was expected".into()),
                Some(Expected::KnownFault) => Some("known to break, and does not".into()),
                Some(Expected::Clean) if self.is_cut_off() => Some("nothing is proved".into()),
                _ => None,
            };
        };
        match &self.replayed {
            Some(Ok((Some(again), _))) if again.invariant == broken.invariant => {}
            Some(Ok((Some(again), _))) => return Some(format!("its replay breaks {}", again.invariant)),
            Some(Ok((None, _))) | None => return Some("its replay breaks nothing".into()),
            Some(Err(why)) => return Some(format!("its replay fails: {why}")),
        }
        let listed = search.check.scenario.invariants;
        match search.expected {
            Some(Expected::Clean) => Some("nothing was expected to break".into()),
            Some(Expected::Violation | Expected::KnownFault) if !listed.contains(&broken.invariant.as_str()) => {
                Some(format!("{} was expected", listed.join(" or ")))
            }
            _ => None,
        }
    }
}
