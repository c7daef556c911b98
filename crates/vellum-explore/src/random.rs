//! Executions drawn by chance.

use super::choice::{Choice, ChoiceKind, Cost, Strategy};
use fastrand::Rng;

/// Every choice by chance; one in `RARITY` is unusual where it may be.
pub(crate) struct Random {
    rng: Rng,
    left: u64,
}

const RARITY: u32 = 8;

impl Random {
    pub(crate) fn new(seed: u64, executions: u64) -> Random {
        Random { rng: Rng::with_seed(seed), left: executions }
    }
}

impl Strategy for Random {
    fn begin(&mut self) -> bool {
        let goes_on = self.left > 0;
        self.left = self.left.saturating_sub(1);
        goes_on
    }

    fn choose(&mut self, choice: &Choice<'_>) -> u8 {
        let costs = choice.cost != Cost::Free;
        if costs && self.rng.u32(0..RARITY) > 0 {
            return 0;
        }
        self.rng.u8(0..choice.options)
    }
}

/// Probabilistic concurrency testing: each CPU has a priority, the highest that can run runs, and at a few points drawn
/// by chance the running one falls below all others. (Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized
/// scheduler with probabilistic guarantees of finding bugs", ASPLOS 2010.) A bug of depth `d` in `n` CPUs and `k` steps
/// is found by an execution with probability at least `1 / (n * k^(d - 1))`.
pub(crate) struct Pct {
    rng: Rng,
    left: u64,
    depth: u32,
    priorities: Vec<i64>,
    changes: Vec<u32>,
    choices: u32,
    /// Choices of a CPU in the longest execution so far.
    longest: u32,
}

impl Pct {
    pub(crate) fn new(seed: u64, executions: u64, depth: u32, cpus: usize) -> Pct {
        let rng = Rng::with_seed(seed);
        Pct { rng, left: executions, depth, priorities: vec![0; cpus], changes: Vec::new(), choices: 0, longest: 1 }
    }
}

impl Strategy for Pct {
    fn begin(&mut self) -> bool {
        self.longest = self.longest.max(self.choices);
        self.choices = 0;
        let mut ranks: Vec<i64> = (1..=self.priorities.len() as i64).collect();
        self.rng.shuffle(&mut ranks);
        self.priorities = ranks;
        self.changes = (1..self.depth).map(|_| self.rng.u32(1..=self.longest)).collect();
        let goes_on = self.left > 0;
        self.left = self.left.saturating_sub(1);
        goes_on
    }

    fn choose(&mut self, choice: &Choice<'_>) -> u8 {
        if choice.place.kind != ChoiceKind::Cpu {
            return if self.rng.u32(0..RARITY) == 0 { self.rng.u8(0..choice.options) } else { 0 };
        }
        self.choices += 1;
        if let Some(rank) = self.changes.iter().position(|&change| change == self.choices) {
            self.priorities[choice.cpus[0] as usize] = -(rank as i64);
        }
        let highest = (0..choice.options).max_by_key(|&option| self.priorities[choice.cpus[option as usize] as usize]);
        highest.unwrap_or(0)
    }
}
