//! Many sequences, up to the first on which both sides differ.

use crate::compare::{self, Disagreement, Ending, Settings};
use crate::files::Ends;
use crate::generate::{self, Recipe};
use crate::linux::Linux;
use crate::op::Op;
use crate::shrink;
use crate::stats::Stats;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};
use vellum::ops::HugePages;

/// Where a campaign ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// After this time.
    pub time: Option<Duration>,
    /// After so many operations.
    pub operations: Option<u64>,
}

/// Sequences of seeds that follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub seed: u64,
    /// Where it ends.
    pub limits: Limits,
    /// Whether Vellum's memory is short, in half of the sequences.
    pub has_pressure: bool,
    /// How they are compared.
    pub settings: Settings,
}

/// A sequence on which both sides differ, made short if they do so again.
#[derive(Clone, Debug)]
pub struct Found {
    /// The seed it came from.
    pub seed: u64,
    /// The operations that are left.
    pub ops: Vec<Op>,
    /// What is wrong with them.
    pub disagreement: Disagreement,
    /// Whether they differed when it was run again. If not this is what was seen the first time.
    pub is_repeatable: bool,
}

/// Why a campaign ended before its limits.
#[derive(Debug)]
pub enum Stop {
    /// Both sides differ.
    Found(Box<Found>),
    /// Linux's side cannot go on.
    Linux(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Linux(error)
    }
}

impl Campaign {
    /// Runs sequences, counting in `stats` what is done, and telling `progress` of it after each.
    ///
    /// # Errors
    /// What ended it.
    pub fn run(&self, linux: &mut Linux, stats: &mut Stats, progress: &mut dyn FnMut(&Stats)) -> Result<(), Stop> {
        let begun = Instant::now();
        let is_over = |stats: &Stats| {
            self.limits.time.is_some_and(|time| begun.elapsed() >= time)
                || self.limits.operations.is_some_and(|most| stats.operations() >= most)
        };
        let mut seed = self.seed;
        while !is_over(stats) {
            self.sequence(linux, seed, stats)?;
            progress(stats);
            seed = seed.wrapping_add(1);
        }
        Ok(())
    }

    fn sequence(&self, linux: &mut Linux, seed: u64, stats: &mut Stats) -> Result<(), Stop> {
        let has_pressure = self.has_pressure && seed.is_multiple_of(2);
        let ends = if has_pressure || !linux.clears_behind_ends() { Ends::WithPage } else { Ends::Anywhere };
        let (has_heap, has_holes, has_guards) = (linux.has_heap(), linux.makes_holes(), linux.has_guards());
        let (has_huge_pages, is_large) = (linux.has_huge_pages(), seed.is_multiple_of(3));
        let recipe = Recipe { has_pressure, has_heap, has_holes, has_guards, has_huge_pages, is_large, ends };
        let ops = generate::sequence(seed, recipe);
        let huge_pages = if seed & 2 == 0 { HugePages::Always } else { HugePages::Advised };
        // Of 4, 16 and 64 pages, now and then.
        let folio_orders = if seed.is_multiple_of(5) { 1 << 2 | 1 << 4 | 1 << 6 } else { 0 };
        let settings = Settings { ends, huge_pages, folio_orders, is_large, ..self.settings };
        let ending = compare::run(linux, &ops, &settings, stats)?;
        stats.sequences += 1;
        stats.pressed_sequences += u64::from(has_pressure);
        stats.large_sequences += u64::from(is_large);
        let Ending::Differs(once) = ending else { return Ok(()) };
        match again(linux, seed, &ops, &settings)? {
            Again::Same => {
                let found = Found { seed, ops, disagreement: once, is_repeatable: false };
                Err(Stop::Found(Box::new(found)))
            }
            Again::Meant(difference) => {
                stats.meant[difference] += 1;
                Ok(())
            }
            Again::Differs(found) => Err(Stop::Found(found)),
        }
    }
}

/// What a sequence does on which both sides differed once.
enum Again {
    Same,
    Meant(usize),
    Differs(Box<Found>),
}

/// Runs a sequence again, with all comparisons, and makes it short: with those it had, if it needs them to differ.
fn again(linux: &mut Linux, seed: u64, ops: &[Op], settings: &Settings) -> io::Result<Again> {
    for settings in [settings.exact(), *settings] {
        match compare::run(linux, ops, &settings, &mut Stats::default())? {
            Ending::Same => {}
            Ending::Meant(difference) => return Ok(Again::Meant(difference)),
            Ending::Differs(first) => return Ok(Again::Differs(Box::new(shrunk(linux, seed, ops, &settings, first)?))),
        }
    }
    Ok(Again::Same)
}

/// Makes a sequence short.
fn shrunk(linux: &mut Linux, seed: u64, ops: &[Op], settings: &Settings, first: Disagreement) -> io::Result<Found> {
    let mut broken = None;
    let mut run = |ops: &[Op]| match compare::run(linux, ops, settings, &mut Stats::default()) {
        Ok(Ending::Differs(disagreement)) => Some(disagreement),
        Ok(Ending::Same | Ending::Meant(_)) => None,
        Err(error) => {
            broken = Some(error);
            None
        }
    };
    let ops = shrink::shrink(&ops[..=first.at.min(ops.len() - 1)], |ops| run(ops).is_some());
    let disagreement = run(&ops).unwrap_or(first);
    broken.map_or(Ok(Found { seed, ops, disagreement, is_repeatable: true }), Err)
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, start) = (self.ops.len(), crate::arena::START);
        let of_them = if self.is_repeatable { "are enough" } else { "differed once, and not again" };
        writeln!(f, "seed {}: {count} operations {of_them}, where A is {start:#x}", self.seed)?;
        for step in &self.disagreement.steps {
            let pressure = self.ops.get(step.op).is_some_and(|op| op.pressure != 0);
            let pressure = if pressure { "  (after pressure)" } else { "" };
            let ours = step.ours.map_or_else(|| "-".into(), |ours| ours.to_string());
            let child = if step.call == crate::op::Call::Fork { format!(" = {}", step.child) } else { String::new() };
            let linux = step.linux.to_string();
            let results = if linux == ours { linux } else { format!("Linux {linux}, Vellum {ours}") };
            writeln!(f, "  process {}: {}{child} → {results}{pressure}", step.process, step.call)?;
        }
        write!(f, "{}", self.disagreement.wrong)
    }
}
