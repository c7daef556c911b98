//! Failure on demand: of allocations, of reads and writes of devices, of compressed pages.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Which of the attempts that follow fail; they count from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePlan {
    /// None.
    #[default]
    Never,
    /// This one alone.
    Nth(u64),
    /// This one and all after it.
    From(u64),
}

/// Counts attempts and lets a [`FailurePlan`] decide about each.
#[derive(Debug)]
pub(crate) struct FailureGate {
    first: AtomicU64,
    end: AtomicU64,
    attempts: AtomicU64,
    failures: AtomicU64,
}

impl FailureGate {
    pub(crate) fn new() -> FailureGate {
        let gate = FailureGate {
            first: AtomicU64::new(0),
            end: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        gate.set(FailurePlan::Never);
        gate
    }

    /// Begins a plan; counting starts over.
    pub(crate) fn set(&self, plan: FailurePlan) {
        let (first, end) = match plan {
            FailurePlan::Never => (u64::MAX, u64::MAX),
            FailurePlan::Nth(number) => (number, number.saturating_add(1)),
            FailurePlan::From(number) => (number, u64::MAX),
        };
        self.first.store(first, Relaxed);
        self.end.store(end, Relaxed);
        self.attempts.store(0, Relaxed);
        self.failures.store(0, Relaxed);
    }

    /// One attempt: whether it may succeed.
    pub(crate) fn allow(&self) -> bool {
        let number = self.attempts.fetch_add(1, Relaxed);
        let fails = (self.first.load(Relaxed)..self.end.load(Relaxed)).contains(&number);
        self.failures.fetch_add(fails as u64, Relaxed);
        !fails
    }

    /// Attempts since the plan began.
    pub(crate) fn attempts(&self) -> u64 {
        self.attempts.load(Relaxed)
    }

    /// How many of them the plan made fail.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_four(plan: FailurePlan) -> ([bool; 4], u64) {
        let gate = FailureGate::new();
        gate.set(plan);
        (std::array::from_fn(|_| gate.allow()), gate.failures())
    }

    #[test]
    fn plans_fail_what_they_name() {
        assert_eq!(first_four(FailurePlan::Never), ([true; 4], 0));
        assert_eq!(first_four(FailurePlan::Nth(1)), ([true, false, true, true], 1));
        assert_eq!(first_four(FailurePlan::From(2)), ([true, true, false, false], 2));
    }
}
