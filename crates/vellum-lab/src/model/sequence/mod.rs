//! Random sequences of operations, on the core and on the model, compared result by result.
//!
//! The core runs on the deterministic machine, its users through the simulated MMUs, on one to three CPUs and in one to
//! four spaces. After each operation the results are compared (values and errors); every few operations, and at the
//! end, all mappings, resident pages, counts and the bytes of resident pages, and the core audits itself. At the end
//! everything is loaded once, everything is dropped, and every frame must be free again.
//!
//! Where memory may be short ([`run_seeds_under_pressure`]) memory is taken back, moved and given up at any step too; a
//! page that was given up shows what it held or zeroes until somebody looks or stores, and the model keeps both.
//!
//! A sequence comes from a seed. One that fails is shrunk, and printed so that it can be pasted into a test:
//!
//! ```no_run
//! use vellum::arch::X86_64;
//! use vellum_lab::model::sequence::{Settings, paste::*, run};
//!
//! run::<X86_64>(&[Store { cpu: 0, space: 0, at: Pool(3), offset: 0, bytes: 1 }], &Settings::default()).unwrap();
//! ```
//!
//! Not compared: when the zero page or pages around a fault are mapped, `rss` of files and shared memory beyond what
//! the audit recounts, and what happens when memory ends (see the allocation-failure tests).

mod check;
mod file;
mod generate;
mod op;
mod outcome;
mod pool;
mod relief;
mod shrink;
mod step;
mod sweep;
mod touch;
mod world;

pub use file::PatternFile;
use generate::Ground;
pub use generate::Random;
pub use op::{Goal, How, Length, Op, Put, Rights, Spot, What};
pub use pool::Pool;
pub use relief::Relief;
pub use sweep::{Sweep, sweep, sweep_seeds};

/// Everything a printed operation consists of.
pub mod paste {
    pub use super::op::Access::*;
    pub use super::op::Advice::{
        Cold, Collapse, DoDump, DoFork, DontDump, DontFork, DontNeed, Free, GuardInstall, GuardRemove, HugePage,
        KeepOnFork, NoHugePage, Normal, PageOut, PopulateRead, PopulateWrite, Random, Sequential, WillNeed, WipeOnFork,
    };
    pub use super::op::Goal::*;
    pub use super::op::How::*;
    pub use super::op::Length::*;
    pub use super::op::Op::*;
    pub use super::op::Put::*;
    pub use super::op::Rights::*;
    pub use super::op::Spot::*;
    pub use super::op::What::*;
}

use crate::hardware::MachineConfig;
use crate::hosted::Hosted;
use crate::model::Quirk;
use crate::quiet::quietly;
use outcome::Wrong;
use std::cell::Cell;
use std::fmt;
use vellum::arch::Arch;
use vellum::ops::HugePages;
use world::World;

/// How sequences are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// CPUs of the machine.
    pub cpus: usize,
    /// Frames of the machine.
    pub frames: u64,
    /// The whole state is compared after so many operations.
    pub check_every: usize,
    /// A mistake the model is to make.
    pub quirk: Option<Quirk>,
    /// How many pages may be committed, where there is no swap; `None` for any number.
    pub commit_pages: Option<u64>,
    /// Which memory gets huge pages.
    pub huge_pages: HugePages,
    /// Of which sizes folios of several pages may be there, smaller than huge pages: see `Vm::set_folio_orders`.
    pub folio_orders: u32,
    /// Where memory may be short: what there is against that. The machine has two nodes then, and a sequence which runs
    /// out of memory ends there.
    pub relief: Option<Relief>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            cpus: 2,
            frames: 2048,
            check_every: 8,
            quirk: None,
            commit_pages: None,
            huge_pages: HugePages::default(),
            folio_orders: 0,
            relief: None,
        }
    }
}

impl Settings {
    /// Whether a sequence may run out of memory: it ends there. Huge pages of many pages take what is not used.
    fn may_run_out<A: Arch>(&self) -> bool {
        let is_large = A::shift(1) - A::PAGE_SHIFT > 6;
        self.relief.is_some() || self.huge_pages == HugePages::Always && is_large
    }

    /// The same, with huge pages wherever they may come, and more memory than most sequences need then, unless it is to
    /// be short.
    pub fn with_huge_pages<A: Arch>(self) -> Settings {
        let more = if self.relief.is_none() { 40 << (A::shift(1) - A::PAGE_SHIFT) } else { 0 };
        Settings { huge_pages: HugePages::Always, frames: self.frames + more, ..self }
    }

    /// The same with folios of several pages, of sizes that `random` chooses: none, some from 16 KiB to 1 MiB where
    /// pages have 4 KiB, one, or all.
    fn with_folios(self, random: &mut Random) -> Settings {
        let one = 1 << (1 + random.below(8));
        Settings { folio_orders: random.pick(&[0, 1 << 2 | 1 << 4 | 1 << 6 | 1 << 8, one, u32::MAX]), ..self }
    }
}

/// What sequences have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sequences.
    pub sequences: u64,
    /// Operations on mappings that succeeded on both sides.
    pub succeeded: u64,
    /// Operations on mappings that failed alike.
    pub refused: u64,
    /// Stores and fetches that succeeded.
    pub accesses: u64,
    /// Accesses that faulted alike.
    pub faulted: u64,
    /// Loads whose bytes were compared.
    pub loads_checked: u64,
    /// Huge pages that faults have made, and those that were cut into small ones.
    pub huge: (u64, u64),
    /// Folios of several pages, smaller than huge ones, that faults have made.
    pub folios: u64,
    /// Pages that reclaim freed when it was asked to.
    pub freed: u64,
    /// Pages that were moved to another node.
    pub moved: u64,
    /// Pages written to swap, compressed or not, and read back.
    pub swapped: (u64, u64),
    /// Sequences that ended early, for want of memory.
    pub exhausted: u64,
}

impl Stats {
    fn count(&mut self, succeeded: bool) {
        *(if succeeded { &mut self.succeeded } else { &mut self.refused }) += 1;
    }

    fn count_access(&mut self, succeeded: bool) {
        *(if succeeded { &mut self.accesses } else { &mut self.faulted }) += 1;
    }

    fn add(&mut self, other: &Stats) {
        self.sequences += other.sequences;
        self.succeeded += other.succeeded;
        self.refused += other.refused;
        self.accesses += other.accesses;
        self.faulted += other.faulted;
        self.loads_checked += other.loads_checked;
        self.huge = (self.huge.0 + other.huge.0, self.huge.1 + other.huge.1);
        self.folios += other.folios;
        self.freed += other.freed;
        self.moved += other.moved;
        self.swapped = (self.swapped.0 + other.swapped.0, self.swapped.1 + other.swapped.1);
        self.exhausted += other.exhausted;
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { sequences, succeeded, refused, accesses, faulted, loads_checked, freed, moved, .. } = self;
        write!(
            f,
            "{sequences} sequences: {succeeded} operations, {refused} refused alike; {accesses} stores and fetches, \
             {loads_checked} loads checked, {faulted} faulted alike; {} huge pages, {} cut; {} folios",
            self.huge.0, self.huge.1, self.folios
        )?;
        if freed + moved == 0 {
            return Ok(());
        }
        let ((out, back), exhausted) = (self.swapped, self.exhausted);
        write!(
            f,
            "; {freed} pages reclaimed on demand, {moved} moved, {out} to swap, {back} back; {exhausted} sequences \
             ended for want of memory"
        )
    }
}

/// A sequence on which core and model differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The operation after which they differ; the number of operations if at the end.
    pub at: usize,
    /// How.
    pub wrong: String,
}

/// Runs one sequence on both sides.
///
/// # Errors
/// Where and how they differ; a panic of the core counts as that.
pub fn run<A: Arch>(ops: &[Op], settings: &Settings) -> Result<Stats, Failure> {
    let at = Cell::new(0);
    let failure = |wrong| Failure { at: at.get(), wrong };
    match quietly(|| run_steps::<A>(ops, settings, &at)) {
        Ok(result) => result.map_err(failure),
        Err(panic) => Err(failure(format!("panic: {panic}"))),
    }
}

fn run_steps<A: Arch>(ops: &[Op], settings: &Settings, at: &Cell<usize>) -> Result<Stats, String> {
    let config = MachineConfig::with_nodes(settings.cpus, settings.frames, 1 + settings.relief.is_some() as u8);
    let files = world::files::<A>(settings);
    let hosted = Hosted::<A>::new(&config).map_err(|error| error.to_string())?;
    let mut world = World::new(&hosted, &files, settings).map_err(|error| error.to_string())?;
    for (index, op) in ops.iter().enumerate() {
        at.set(index);
        match world.step(op) {
            Ok(()) => {}
            Err(Wrong::OutOfMemory) if settings.may_run_out::<A>() => return end_early(world),
            Err(wrong) => return Err(wrong.to_string()),
        }
        if (index + 1) % settings.check_every == 0 {
            world.check()?;
        }
    }
    at.set(ops.len());
    world.check()?;
    if let Err(wrong) = world.load_everything() {
        return if matches!(wrong, Wrong::OutOfMemory) && settings.may_run_out::<A>() {
            end_early(world)
        } else {
            Err(wrong.to_string())
        };
    }
    world.check()?;
    let stats = world.finish()?;
    Ok(Stats { sequences: 1, ..stats })
}

/// The end of a sequence that ran out of memory: the operation which did has changed no contents.
fn end_early<A: Arch>(mut world: World<'_, A>) -> Result<Stats, String> {
    world.adopt_growth();
    world.check_contents()?;
    let stats = world.finish()?;
    Ok(Stats { sequences: 1, exhausted: 1, ..stats })
}

/// A failing sequence, made short.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed it came from.
    pub seed: u64,
    /// The architecture.
    pub arch: &'static str,
    /// How it was run.
    pub settings: Settings,
    /// The operations that are left.
    pub ops: Vec<Op>,
    /// What is wrong at the end of them.
    pub failure: Failure,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { seed, arch, settings, ops, failure } = self;
        writeln!(f, "seed {seed} on {arch}, {settings:?}: {} operations are enough:", ops.len())?;
        for (index, op) in ops.iter().enumerate() {
            writeln!(f, "    {op:?},{}", if index == failure.at { " // here" } else { "" })?;
        }
        write!(f, "{}", failure.wrong)
    }
}

/// Runs the sequences of `seeds`, up to the first that fails, which is shrunk.
///
/// # Errors
/// The short form of the failing sequence.
pub fn run_seeds<A: Arch>(seeds: std::ops::Range<u64>, quirk: Option<Quirk>) -> Result<Stats, Box<Report>> {
    run_with::<A>(seeds, &Settings { quirk, ..Settings::default() })
}

/// As [`run_seeds`], with pressure: two nodes with little memory, swap, and in half of the runs a compressed tier. With
/// `tags`, private anonymous memory has memory tags.
///
/// # Errors
/// The short form of the failing sequence.
pub fn run_seeds_under_pressure<A: Arch>(
    seeds: std::ops::Range<u64>,
    tags: bool,
    quirk: Option<Quirk>,
) -> Result<Stats, Box<Report>> {
    let relief = Some(Relief { tags, ..Relief::default() });
    run_with::<A>(seeds, &Settings { quirk, relief, ..Settings::default() })
}

fn run_with<A: Arch>(seeds: std::ops::Range<u64>, settings: &Settings) -> Result<Stats, Box<Report>> {
    let ground = Ground::of::<A>();
    let mut total = Stats::default();
    for seed in seeds {
        let mut random = Random::new(seed ^ 0x5eed);
        // One in 32 is long, for states that take many operations to build.
        let length = if random.below(32) == 0 { 300 } else { 20 + random.below(41) as usize };
        let cpus = 1 + random.below(3) as usize;
        let mut settings = Settings { cpus, ..*settings };
        if let Some(relief) = &mut settings.relief {
            settings.frames = random.pick(&[200, 260, 400, 1000]);
            relief.compressed_frames = random.pick(&[0, 64]);
        }
        if settings.relief.is_none() {
            settings.commit_pages = random.pick(&[None, None, None, Some(60), Some(500), Some(1 << 30)]);
        }
        if random.percent(50) {
            settings = settings.with_huge_pages::<A>().with_folios(&mut random);
        }
        let ops = generate::sequence(seed, length, &ground.with(&settings));
        match run::<A>(&ops, &settings) {
            Ok(stats) => total.add(&stats),
            Err(failure) => return Err(Box::new(report::<A>(seed, ops, &settings, &failure))),
        }
    }
    Ok(total)
}

/// Shrinks a failing sequence: with a check after each operation if it fails then too, for checks disturb a little.
fn report<A: Arch>(seed: u64, ops: Vec<Op>, settings: &Settings, failure: &Failure) -> Report {
    let often = Settings { check_every: 1, ..*settings };
    let until = |settings: &Settings| match settings.check_every {
        1 => &ops[..ops.len().min(failure.at + 1)],
        _ => &ops[..],
    };
    let settings = if run::<A>(until(&often), &often).is_err() { often } else { *settings };
    let ops = shrink::shrink(until(&settings), |ops| run::<A>(ops, &settings).is_err());
    let failure = run::<A>(&ops, &settings).err().unwrap_or_else(|| failure.clone());
    Report { seed, arch: A::NAME, settings, ops, failure }
}
