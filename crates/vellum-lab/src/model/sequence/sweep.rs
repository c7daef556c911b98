//! Failing each allocation of an operation in turn: it fails as a whole, or it succeeds as if nothing had happened.

use super::op::{Advice, How, Op};
use super::outcome::Wrong;
use super::world::{self, World};
use super::{Ground, Random, Settings, generate, shrink};
use crate::det::FailurePlan;
use crate::hardware::MachineConfig;
use crate::hosted::Hosted;
use crate::quiet::quietly;
use std::cell::Cell;
use vellum::MemoryUsage;
use vellum::arch::Arch;

/// What a sweep has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Allocations of the operation.
    pub requests: u64,
    /// Runs in which the operation failed, and changed nothing.
    pub failed: u64,
    /// Runs in which it succeeded although an allocation had failed.
    pub survived: u64,
}

impl Sweep {
    fn add(&mut self, other: &Sweep) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.survived += other.survived;
    }
}

/// Runs `op` after `setup` again and again, on a fresh machine each time: first counting its allocations, then with
/// each of them failing, alone and with all that follow. An operation that runs out of memory must have changed
/// nothing, and must succeed when it is tried again with memory.
///
/// Not held against an operation: page tables that a fault leaves, pages that populating has got to, a stack that has
/// grown, and memory that the core keeps for its own use.
///
/// # Errors
/// What went wrong, and at which allocation.
pub fn sweep<A: Arch>(setup: &[Op], op: &Op, settings: &Settings) -> Result<Sweep, String> {
    let mut found = Sweep { requests: run_one::<A>(setup, op, settings, FailurePlan::Never)?.0, ..Sweep::default() };
    for number in 0..found.requests {
        for plan in [FailurePlan::Nth(number), FailurePlan::From(number)] {
            let (_, has_failed) = run_one::<A>(setup, op, settings, plan)?;
            *(if has_failed { &mut found.failed } else { &mut found.survived }) += 1;
        }
    }
    Ok(found)
}

/// Sweeps over the last operations of random sequences.
///
/// # Errors
/// What went wrong, after as few operations as were found.
pub fn sweep_seeds<A: Arch>(seeds: std::ops::Range<u64>) -> Result<Sweep, String> {
    let ground = Ground::of::<A>();
    let mut total = Sweep::default();
    for seed in seeds {
        let mut random = Random::new(seed);
        let length = 6 + random.below(20) as usize;
        let settings = match seed % 2 {
            0 => Settings::default().with_huge_pages::<A>().with_folios(&mut random),
            _ => Settings::default(),
        };
        let mut setup = generate::sequence(seed, length, &ground.with(&settings));
        let Some(op) = setup.pop() else { continue };
        // A store that fails on its second page has stored to the first.
        let op = match op {
            Op::Store { cpu, space, at, offset, .. } => Op::Store { cpu, space, at, offset, bytes: 1 },
            Op::CopyOut { cpu, space, at, offset, .. } => Op::CopyOut { cpu, space, at, offset, bytes: 1 },
            op => op,
        };
        match sweep::<A>(&setup, &op, &settings) {
            Ok(found) => total.add(&found),
            Err(_) => {
                let fails = |setup: &[Op]| sweep::<A>(setup, &op, &settings).is_err();
                let setup = shrink::shrink(&setup, fails);
                let error = sweep::<A>(&setup, &op, &settings).err().unwrap_or_default();
                let setup: Vec<String> = setup.iter().map(|op| format!("    {op:?},")).collect();
                return Err(format!("seed {seed} on {}, after\n{}\n{error}", A::NAME, setup.join("\n")));
            }
        }
    }
    Ok(total)
}

/// One run: how many allocations the operation made, and whether it failed.
fn run_one<A: Arch>(setup: &[Op], op: &Op, settings: &Settings, plan: FailurePlan) -> Result<(u64, bool), String> {
    let stage = Cell::new("the setup");
    match quietly(|| run_stages::<A>(setup, op, settings, plan, &stage)) {
        Ok(result) => result.map_err(|wrong| format!("{op:?}, {plan:?}, {}: {wrong}", stage.get())),
        Err(panic) => Err(format!("{op:?}, {plan:?}, {}: panic: {panic}", stage.get())),
    }
}

fn run_stages<A: Arch>(
    setup: &[Op],
    op: &Op,
    settings: &Settings,
    plan: FailurePlan,
    stage: &Cell<&'static str>,
) -> Result<(u64, bool), String> {
    let config = MachineConfig::with_nodes(settings.cpus, settings.frames, 1 + settings.relief.is_some() as u8);
    let hosted = Hosted::<A>::new(&config).map_err(|error| error.to_string())?;
    let files = world::files::<A>(settings);
    let mut world = World::new(&hosted, &files, settings).map_err(|error| error.to_string())?;
    let text = |wrong: Wrong| wrong.to_string();
    setup.iter().try_for_each(|op| world.step(op)).map_err(text)?;
    world.check()?;
    world.quiesce();
    let before = hosted.vm().usage();

    stage.set("the operation");
    hosted.machine().set_failure_plan(plan);
    let result = world.step(op);
    let requests = hosted.machine().allocations();
    let fails = hosted.machine().allocation_failures();
    hosted.machine().set_failure_plan(FailurePlan::Never);
    let has_failed = match result {
        Ok(()) => false,
        Err(Wrong::OutOfMemory) if fails > 0 => true,
        Err(wrong) => return Err(wrong.to_string()),
    };
    if has_failed {
        stage.set("after the failure");
        check_unchanged(&mut world, op, &before)?;
        stage.set("the operation again, with memory");
        world.step(op).map_err(text)?;
    } else if let Op::Map { how: How::Populate, .. } = op {
        // A mapping that could not be populated is made all the same.
        world.populate_again()?;
    }
    stage.set("the end");
    world.check()?;
    world.load_everything().map_err(text)?;
    world.check()?;
    world.finish()?;
    Ok((requests, has_failed))
}

/// What operation may leave behind when it fails.
fn leaves(op: &Op) -> (bool, bool, bool) {
    let populates = match op {
        Op::Advise { advice, .. } | Op::AdvisePartly { advice, .. } => {
            matches!(advice, Advice::PopulateRead | Advice::PopulateWrite)
        }
        Op::PopulateRange { .. } => true,
        _ => false,
    };
    let is_access =
        matches!(op, Op::Store { .. } | Op::Load { .. } | Op::CopyOut { .. } | Op::CopyIn { .. } | Op::Fetch { .. });
    let reads =
        matches!(op, Op::Advise { advice: Advice::WillNeed, .. } | Op::AdvisePartly { advice: Advice::WillNeed, .. });
    (populates, is_access || populates, is_access || populates || reads)
}

fn check_unchanged<A: Arch>(world: &mut World<'_, A>, op: &Op, before: &MemoryUsage) -> Result<(), String> {
    let (pages, tables, cached) = leaves(op);
    let has_grown = world.adopt_growth();
    if pages || has_grown {
        world.check_contents()?
    } else {
        world.check()?
    }
    world.quiesce();
    let now = world.hosted.vm().usage();
    // Where there is swap, or pages of files, an operation that found no memory has made room before it gave up.
    let has_relief = world.relief.is_some();
    let same = |may_grow: bool, now: u64, before: u64| match may_grow {
        true => now >= before || has_relief,
        false => now == before || has_relief && now < before,
    };
    // Tidying up may give back a table that an earlier operation left.
    let is_same = same(pages, now.anonymous, before.anonymous)
        && (tables || now.tables <= before.tables)
        && same(cached, now.file, before.file);
    if is_same { Ok(()) } else { Err(format!("memory in use was {before:?} and is {now:?}")) }
}
