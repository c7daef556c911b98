//! What a run came to: counts, samples and findings, for reports to show.

mod gauge;
mod samples;

pub use gauge::{Gauge, Peaks};
pub use samples::Samples;

use crate::hardware::{CpuCounters, Violation};
use crate::hosted::HostedError;
use crate::latency::FaultLatency;
use crate::trace::TraceError;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use vellum::{Machine, Vm};

/// What a run did and found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How long it took on the host.
    pub elapsed: Duration,
    /// Accesses made: of a trace its records, of a workload its loads, stores and fetches.
    pub accesses: u64,
    /// Distinct page numbers accessed.
    pub pages_touched: u64,
    /// The core's event counters, with Linux's names.
    pub counters: Vec<(&'static str, u64)>,
    /// What the simulated processors counted, all together.
    pub processors: CpuCounters,
    /// How long faults took.
    pub latency: FaultLatency,
    /// The memory used.
    pub peaks: Peaks,
    /// Resident pages, over the accesses.
    pub resident: Samples,
    /// What the oracle checked and found.
    pub oracle: Findings,
    /// Pages mapped because something accessed them that no logged call had mapped.
    pub implicit_pages: u64,
    /// Accesses that got a segmentation fault.
    pub segv: u64,
    /// Accesses that were refused since they bore a wrong tag.
    pub tag_traps: u64,
    /// Accesses that got a bus error.
    pub bus: u64,
    /// Calls that mean nothing here, by name.
    pub ignored_calls: Tally,
    /// Calls that the core refused although the log says that they succeeded, by name and reason.
    pub refused_calls: Tally,
    /// What the reader of the report should know.
    pub warnings: Vec<String>,
    /// What the core's audit said at the end; `None` if it was not made.
    pub audit: Option<Result<(), String>>,
}

impl Outcome {
    /// Recounts everything in `vm`, at quiescence. What was found wrong first is kept.
    pub(crate) fn audit<M: Machine>(&mut self, vm: &Vm<M>) {
        if !matches!(self.audit, Some(Err(_))) {
            // SAFETY: the programs have ended, and their threads.
            self.audit = Some(unsafe { vm.audit() }.map(drop).map_err(|error| error.to_string()));
        }
    }

    /// Whether nothing was found broken.
    pub fn is_clean(&self) -> bool {
        self.oracle.violations == 0 && !matches!(self.audit, Some(Err(_)))
    }
}

/// What the oracle checked and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Loads compared with what they must return.
    pub loads_checked: u64,
    /// Those among them that read memory which the run had stored to.
    pub loads_after_store: u64,
    /// What was found wrong, by the oracle and by the simulated processors.
    pub violations: u64,
    /// The first violations, in words.
    pub first: Vec<String>,
}

impl Findings {
    const KEPT: usize = 16;

    /// Counts a violation.
    #[cold]
    pub fn report(&mut self, text: impl fmt::Display) {
        self.violations += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(text.to_string());
        }
    }

    /// Adds what the simulated processors found.
    pub fn report_all(&mut self, found: Vec<Violation>) {
        found.iter().for_each(|violation| self.report(violation));
    }

    /// Adds what `other` holds.
    pub fn merge(&mut self, other: &Findings) {
        self.loads_checked += other.loads_checked;
        self.loads_after_store += other.loads_after_store;
        self.violations += other.violations;
        let room = Self::KEPT.saturating_sub(self.first.len());
        self.first.extend(other.first.iter().take(room).cloned());
    }
}

/// Counts by name. Of more names than a program has, the rest are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Box<str>, u64>);

impl Tally {
    const NAMES_MAX: usize = 512;

    /// Counts one more of `name`.
    pub fn add(&mut self, name: &str) {
        let name = if self.0.contains_key(name) || self.0.len() < Self::NAMES_MAX { name } else { "others" };
        match self.0.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(name.into(), 1)),
        }
    }

    /// The names and counts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (&**name, *count))
    }

    /// All counts together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// Why a run has no outcome.
#[derive(Debug)]
pub enum RunError {
    /// The trace cannot be read.
    Trace(TraceError),
    /// There is no such machine.
    Machine(HostedError),
    /// The simulated memory is exhausted.
    OutOfMemory {
        /// What needed it.
        during: String,
        /// Accesses made before.
        accesses: u64,
        /// Frames that the machine has.
        frames: u64,
    },
    /// The trace uses an address which programs have where it was recorded, and not on the architecture it runs on.
    Address {
        /// The address.
        address: u64,
        /// The architecture.
        arch: &'static str,
        /// Where its user addresses end.
        end: u64,
    },
    /// A workload needs another machine.
    Unfit(String),
    /// A workload could not do what it does.
    Workload(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Trace(error) => error.fmt(f),
            RunError::Machine(error) => error.fmt(f),
            RunError::OutOfMemory { during, accesses, frames } => write!(
                f,
                "out of memory after {accesses} accesses, in {during}: all {frames} frames are in use \
                 and none could be reclaimed (--memory and --swap give more)"
            ),
            RunError::Address { address, arch, end } => {
                write!(f, "the trace uses address {address:#x}, and user addresses end at {end:#x} on {arch}")
            }
            RunError::Unfit(text) | RunError::Workload(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for RunError {}

impl From<TraceError> for RunError {
    fn from(error: TraceError) -> RunError {
        RunError::Trace(error)
    }
}

impl From<HostedError> for RunError {
    fn from(error: HostedError) -> RunError {
        RunError::Machine(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_limit_are_counted_together() {
        let mut tally = Tally::default();
        (0..Tally::NAMES_MAX + 9).for_each(|number| tally.add(&number.to_string()));
        tally.add("3");
        assert_eq!(tally.total() as usize, Tally::NAMES_MAX + 10);
        assert_eq!(tally.iter().find(|(name, _)| *name == "others"), Some(("others", 9)));
        assert_eq!(tally.iter().find(|(name, _)| *name == "3"), Some(("3", 2)));
    }
}
