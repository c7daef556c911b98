//! What was done.

use crate::differences::DIFFERENCES;
use crate::op::{Call, Outcome};

/// How much was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sequences.
    pub sequences: u64,
    /// Those under pressure.
    pub pressed_sequences: u64,
    /// Those with mappings so large that huge pages fit.
    pub large_sequences: u64,
    /// By kind of call, in the order of [`Call::KINDS`]: those that succeeded on both sides.
    pub succeeded: [u64; Call::KINDS.len()],
    /// And those that failed alike, or got the same signal.
    pub failed: [u64; Call::KINDS.len()],
    /// Pages whose mapping was compared.
    pub pages: u64,
    /// Pages whose contents were compared.
    pub sums: u64,
    /// Pages that Vellum has freed or moved meanwhile, when it was asked to.
    pub pressed: u64,
    /// Huge pages that it has mapped, and those it has made small ones of.
    pub huge: (u64, u64),
    /// Pages that it has written to swap, and read back.
    pub swapped: (u64, u64),
    /// By place in [`DIFFERENCES`]: sequences that ended there.
    pub meant: [u64; DIFFERENCES.len()],
}

impl Stats {
    pub(crate) fn count(&mut self, call: &Call, outcome: Outcome) {
        let counts = match outcome {
            Outcome::Value(_) | Outcome::Resident(_) => &mut self.succeeded,
            Outcome::Error(_) | Outcome::Signal(..) => &mut self.failed,
        };
        counts[call.kind()] += 1;
    }

    /// All operations.
    pub fn operations(&self) -> u64 {
        self.succeeded.iter().chain(&self.failed).sum()
    }

    /// Loads of single words.
    pub fn loads(&self) -> u64 {
        let kind = Call::Load { address: 0 }.kind();
        self.succeeded[kind] + self.failed[kind]
    }
}
