//! Running a concurrent program under every interleaving.
//!
//! A [`Program`]'s CPUs are tasks of the crate `shuttle` on one host thread; exactly one runs at a time. Shared memory
//! is what is accessed through [`vellum::sync`] with a machine that forwards to [`access`]. At each access the running
//! CPU may be pre-empted, take an interrupt, or see memory as its store buffers let it; which of these happens is a
//! [`Choice`](choice::Choice) that a search makes. See `docs/LAB.md` for the search, the reduction and why it is
//! sound.
//!
//! * [`search`](fn@search) runs a program under a [`Plan`]: exhaustively to a bound, by chance, or one schedule again.
//! * [`minimise`](fn@minimise) makes a schedule that breaks something shorter.
//! * `choice`, `exhaustive`, `divided`, `random`, `replay`: who makes the choices.
//! * `sim`: the state of the execution under way. `access`: what happens at an access. `buffer`: when
//!   stores reach memory. `record`: what is recorded of it for diagrams. `wait`: blocking and scheduling.
//!   `interrupt`: when interrupts are taken.

pub mod access;
mod buffer;
pub mod choice;
mod divided;
mod exhaustive;
mod interrupt;
mod minimise;
mod random;
mod record;
mod replay;
pub mod schedule;
mod search;
pub mod sim;
mod tasks;
mod visible;
pub mod wait;

pub use choice::Bound;
pub use minimise::minimise;
pub use schedule::Schedule;
pub use search::{Outcome, Plan, Way, search};
pub use visible::WordId;

use std::ops::Range;
use std::sync::Arc;

/// In which order other CPUs see a CPU's stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryOrder {
    /// Each store is seen by all at once: sequential consistency.
    Sc,
    /// Stores wait in a buffer of their CPU, which itself sees them: total store order, as on x86.
    Tso,
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The invariant's name in the catalogue, such as `I-TLBFREE`.
    pub invariant: String,
    /// What was found.
    pub detail: String,
}

/// Something that can be run again and again.
pub trait Program: Send + Sync + 'static {
    /// Number of CPUs.
    fn cpus(&self) -> usize;

    /// Sets an execution up, on CPU 0. What happens here is not explored.
    fn start(&self) -> Arc<dyn Execution>;
}

/// One execution of a [`Program`].
pub trait Execution: Send + Sync {
    /// The host's memory that holds shared words, in an order that does not change from execution to execution.
    fn memory(&self) -> Vec<Range<usize>>;

    /// What `cpu` does.
    fn run(&self, cpu: usize);

    /// What `cpu` does on an interrupt.
    fn interrupt(&self, cpu: usize) {
        let _ = cpu;
    }

    /// Whether CPUs may cache what lies at `address`: whether there can ever be [`Execution::fills`].
    fn may_be_cached(&self, address: usize) -> bool {
        let _ = address;
        false
    }

    /// How many ways there are for CPUs to cache what lies at `address` before it changes.
    fn fills(&self, address: usize) -> u8 {
        let _ = address;
        0
    }

    /// What CPUs could read if they cached what lies at `address` before it changes.
    fn words_of_fills(&self, address: usize) -> Vec<WordId> {
        let _ = address;
        Vec::new()
    }

    /// Carries out one of them.
    fn fill(&self, address: usize, which: u8) {
        let _ = (address, which);
    }

    /// How many ways there are for `cpu` to cache something before it turns to other tables.
    fn fills_on(&self, cpu: usize) -> u8 {
        let _ = cpu;
        0
    }

    /// What `cpu` could read if it cached something before it turns to other tables.
    fn words_of_fills_on(&self, cpu: usize) -> Vec<WordId> {
        let _ = cpu;
        Vec::new()
    }

    /// Carries out one of them.
    fn fill_on(&self, cpu: usize, which: u8) {
        let _ = (cpu, which);
    }

    /// Checks an access before it happens.
    fn check(&self, address: usize) -> Option<Broken> {
        let _ = address;
        None
    }

    /// What a store to `address` changes, for diagrams.
    fn describe_store(&self, address: usize, old: u64, new: u64) -> Option<String> {
        let _ = (address, old, new);
        None
    }

    /// The same of stores that only a full diagram shows.
    fn describe_detail(&self, address: usize, old: u64, new: u64) -> Option<String> {
        let _ = (address, old, new);
        None
    }

    /// What the current CPU waits for that waits for the integer at `address`, which `holder` made what it is.
    fn describe_wait(&self, address: usize, holder: Option<usize>) -> Option<String> {
        let _ = (address, holder);
        None
    }

    /// Checks what is left when all CPUs are done.
    fn end(&self) {}
}

/// Something that happened, for diagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// The CPU.
    pub cpu: usize,
    /// The step.
    pub step: u32,
    /// What.
    pub text: String,
    /// How much of a diagram it belongs to.
    pub detail: Detail,
    /// Where in the source of the core, if that is of interest.
    pub place: Option<String>,
}

/// How much a diagram shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Operations, accesses, entries of page tables, flushes.
    Brief,
    /// Also what decides: frees, references, flags, locks waited for, acknowledgements, places in the source.
    #[default]
    Full,
}
