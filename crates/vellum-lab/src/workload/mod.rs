//! Built-in workloads, on real threads or on the deterministic machine. Each checks all that it reads.
//!
//! A workload prepares one actor for each CPU; an actor works in steps, which are what the deterministic machine
//! takes turns with.

mod fault_private;
mod fault_shared;
mod file_readers;
mod fork_server;
mod huge_heap;
mod map_churn;
mod migrate_nodes;
mod protect_toggle;
mod reclaim_scan;
mod run_det;
mod run_threads;
mod stack_and_heap;
mod swap_storm;
mod tagged_heap;
mod user;

use crate::access::Simulated;
use crate::outcome::{Outcome, RunError};
use crate::pressure::Pressure;
use user::User;
use vellum::Space;
use vellum::arch::Arch;
use vellum::ops::HugePages;

/// A built-in workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Each CPU maps private memory of one space, stores to it, checks it and unmaps it.
    FaultPrivate,
    /// All CPUs store to the same pages of shared memory.
    FaultShared,
    /// Mappings of one space are made, cut, moved and removed.
    MapChurn,
    /// Memory of one space is made read-only and writable again.
    ProtectToggle,
    /// Each CPU has a space of its own and forks it again and again.
    ForkServer,
    /// All CPUs read one file, and store to private pages of it.
    FileReaders,
    /// Each CPU has a space of its own, whose stack and heap grow and shrink.
    StackAndHeap,
    /// Two processes read a file ten times as large as memory.
    ReclaimScan,
    /// One line of many forked processes shares memory far larger than the machine's.
    SwapStorm,
    /// All CPUs use memory that is moved between nodes.
    MigrateNodes,
    /// Each CPU has a heap whose blocks are tagged, larger than memory.
    TaggedHeap,
    /// Each CPU has a heap of huge pages, parts of which are discarded, protected, put out and shared.
    HugeHeap,
}

/// What a workload is run with where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fitting {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of swap.
    pub swap_bytes: u64,
    /// NUMA nodes.
    pub nodes: u8,
    /// Which memory gets huge pages.
    pub huge_pages: HugePages,
}

/// On what a workload runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// CPUs.
    pub cpus: usize,
    /// Frames of simulated memory.
    pub frames: u64,
    /// Whether on the deterministic machine; else on real threads.
    pub is_deterministic: bool,
    /// What there is against the shortage of memory.
    pub pressure: Pressure,
}

impl Workload {
    /// All of them.
    pub const ALL: [Workload; 12] = [
        Workload::FaultPrivate,
        Workload::FaultShared,
        Workload::MapChurn,
        Workload::ProtectToggle,
        Workload::ForkServer,
        Workload::FileReaders,
        Workload::StackAndHeap,
        Workload::ReclaimScan,
        Workload::SwapStorm,
        Workload::MigrateNodes,
        Workload::TaggedHeap,
        Workload::HugeHeap,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Workload::FaultPrivate => "fault-private",
            Workload::FaultShared => "fault-shared",
            Workload::MapChurn => "map-churn",
            Workload::ProtectToggle => "protect-toggle",
            Workload::ForkServer => "fork-server",
            Workload::FileReaders => "file-readers",
            Workload::StackAndHeap => "stack-and-heap",
            Workload::ReclaimScan => "reclaim-scan",
            Workload::SwapStorm => "swap-storm",
            Workload::MigrateNodes => "migrate-nodes",
            Workload::TaggedHeap => "tagged-heap",
            Workload::HugeHeap => "huge-heap",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Workload> {
        Workload::ALL.into_iter().find(|workload| workload.name() == name)
    }

    /// What fits it, with `memory_bytes` of memory.
    pub const fn fitting(self, memory_bytes: Option<u64>) -> Fitting {
        let (usual, swap_per_memory, nodes) = match self {
            Workload::ReclaimScan => (32 << 20, 0, 1),
            Workload::SwapStorm => (32 << 20, 16, 1),
            Workload::MigrateNodes => (64 << 20, 0, 2),
            Workload::TaggedHeap => (16 << 20, 4, 2),
            Workload::HugeHeap => (64 << 20, 1, 1),
            _ => (1 << 30, 0, 1),
        };
        let memory_bytes = match memory_bytes {
            Some(bytes) => bytes,
            None => usual,
        };
        let huge_pages = if matches!(self, Workload::HugeHeap) { HugePages::Always } else { HugePages::Advised };
        Fitting { memory_bytes, swap_bytes: memory_bytes.saturating_mul(swap_per_memory), nodes, huge_pages }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`RunError::Unfit`], [`RunError::Machine`], [`RunError::OutOfMemory`], [`RunError::Workload`].
    pub fn run<A: Arch>(self, setting: &Setting) -> Result<Outcome, RunError> {
        if setting.is_deterministic { run_det::run::<A>(self, setting) } else { run_threads::run::<A>(self, setting) }
    }

    /// Prepares it for `cpus` CPUs; `user` is that of CPU 0.
    fn prepare<'vm, M: Simulated>(self, user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
        match self {
            Workload::FaultPrivate => fault_private::prepare(user, cpus),
            Workload::FaultShared => fault_shared::prepare(user, cpus),
            Workload::MapChurn => map_churn::prepare(user, cpus),
            Workload::ProtectToggle => protect_toggle::prepare(user, cpus),
            Workload::ForkServer => fork_server::prepare(user, cpus),
            Workload::FileReaders => file_readers::prepare(user, cpus),
            Workload::StackAndHeap => stack_and_heap::prepare(user, cpus),
            Workload::ReclaimScan => reclaim_scan::prepare(user, cpus),
            Workload::SwapStorm => swap_storm::prepare(user, cpus),
            Workload::MigrateNodes => migrate_nodes::prepare(user, cpus),
            Workload::TaggedHeap => tagged_heap::prepare(user, cpus),
            Workload::HugeHeap => huge_heap::prepare(user, cpus),
        }
    }
}

/// What a CPU does in a workload.
trait Actor<'vm, M: Simulated>: Send {
    /// Takes one step.
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError>;
    /// Where it works.
    fn space(&self) -> &Space<'vm, M>;
    /// Resident pages there.
    fn resident(&self) -> u64 {
        self.space().rss().total()
    }
}

/// Whether there are more steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    More,
    Done,
}

impl Step {
    /// More, until `taken` are `all`.
    fn until(taken: u64, all: u64) -> Step {
        if taken < all { Step::More } else { Step::Done }
    }
}

type Actors<'vm, M> = Vec<Box<dyn Actor<'vm, M> + 'vm>>;

/// A workload that is ready to run.
struct Prepared<'vm, M: Simulated> {
    /// One for each CPU.
    actors: Actors<'vm, M>,
    /// Whether all of them work in one space.
    is_common: bool,
}

impl<'vm, M: Simulated> Prepared<'vm, M> {
    /// All CPUs work in `space`.
    fn in_common<T: Actor<'vm, M> + 'vm>(
        user: &User<'vm, M>,
        cpus: usize,
        actor: impl Fn(Space<'vm, M>, u64) -> T,
    ) -> Result<Self, RunError> {
        let space = user.ok("a new address space", user.vm.create_space())?;
        let actors = (0..cpus).map(|cpu| Box::new(actor(space.clone(), cpu as u64)) as _).collect();
        Ok(Prepared { actors, is_common: true })
    }

    /// Each CPU works in a space of its own.
    fn apart<T: Actor<'vm, M> + 'vm>(
        user: &mut User<'vm, M>,
        cpus: usize,
        actor: impl Fn(&mut User<'vm, M>, Space<'vm, M>) -> Result<T, RunError>,
    ) -> Result<Self, RunError> {
        let mut actors: Actors<'vm, M> = Vec::new();
        for _ in 0..cpus {
            let space = user.ok("a new address space", user.vm.create_space())?;
            actors.push(Box::new(actor(user, space)?));
        }
        Ok(Prepared { actors, is_common: false })
    }
}

/// Adds what a user did to the outcome.
fn add_user<M: Simulated>(outcome: &mut Outcome, user: &User<'_, M>) {
    outcome.accesses += user.accesses;
    outcome.segv += user.segv;
    outcome.tag_traps += user.tag_traps;
    outcome.latency.merge(&user.latency);
    outcome.oracle.merge(&user.findings);
}
