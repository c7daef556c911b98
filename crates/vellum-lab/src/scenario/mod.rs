//! Scenarios: a hazard of the catalogue as a small program, with what stops it.
//!
//! A [`Scenario`] is data: how the state begins, what each CPU does (public operations of the core and user accesses,
//! by way of a [`Cpu`]), the guards it is about, and in which modes switching a guard off breaks something. The
//! scenarios themselves are in the crate `vellum-scenarios`; `docs/SCENARIOS.md` says how to write one.

mod backing;
mod check;
mod cpu;
mod describe;
mod device;
pub mod diagram;
mod file;
mod huge;
mod mode;
mod ops;
mod oracle;
mod pressure;
mod processor;
mod reach;
mod swap;
mod toy;
mod verify;
mod world;

pub use check::{Check, Finding, Replayed, check, plan_of, replay};
pub use cpu::{Cpu, Process};
pub use mode::Mode;
pub use ops::Prot;
pub use processor::{Processor, set_semantics};
pub use toy::{Toy, ToyPage};
pub use verify::{Expected, FEW, Found, Report, Search, Verdict, counted, searches, unlike, verify, without_implied};

use crate::explore::Bound;
use vellum::Guard;

/// A page that scenarios work on: page `.1` (0 to 2; 3 is the last, whatever its number) of leaf table `.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At(pub u8, pub u8);

/// The page most scenarios are about.
pub const X: At = At(0, 0);
/// Another, under the same leaf table.
pub const Y: At = At(0, 1);
/// A third, under another leaf table.
pub const Z: At = At(1, 0);

/// As many pages as a leaf table has: what to map for a table that can become empty.
pub const LEAF: u64 = u64::MAX;
/// As many pages as a leaf table and the next have: what to unmap from the first page of one on for whole leaves to go.
pub const TWO_LEAVES: u64 = u64::MAX - 1;

/// A hazard as a small program.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// The hazard's id in the catalogue.
    pub id: &'static str,
    /// What goes wrong, in a few words.
    pub title: &'static str,
    /// The discussion it belongs to: S1 to S5, or `-`.
    pub thread: &'static str,
    /// Each of these breaks an invariant when it alone is off.
    pub guards: &'static [Guard],
    /// These break one only when all are off.
    pub guards_redundant: &'static [Guard],
    /// Whether an invariant breaks in a mode when the guards are off.
    pub breaks: fn(Mode) -> bool,
    /// Where an invariant breaks although every guard is on: a fault of the core that is known and not mended yet.
    pub known: Option<Known>,
    /// What processors do with the marks of entries plays no part: on those that differ in nothing else there are as
    /// many executions, which is asked where all of them are searched.
    pub alike: bool,
    /// In which modes it makes sense: not where the mechanism it is about does not exist.
    pub runs: fn(Mode) -> bool,
    /// Nodes of its memory; CPUs belong to them in turn.
    pub nodes: u8,
    /// Allocations and transfers of swap may fail, wherever they are: surprises.
    pub failures: bool,
    /// What is searched.
    pub bound: Bound,
    /// What is searched, too, where a bound that holds both would be too much.
    pub further: Option<Bound>,
    /// The name of the program, if other scenarios look at it, too: with every guard on it is searched once.
    pub program: &'static str,
    /// The invariants it can break, by their names in the catalogue; for the list.
    pub invariants: &'static [&'static str],
    /// What happens before: on CPU 0, not explored. The other CPUs run nothing yet.
    pub start: fn(&Cpu<'_>),
    /// What each CPU does.
    pub actors: &'static [Actor],
    /// What a CPU does that a device has interrupted ([`Cpu::interrupt`]), with interrupts off.
    pub on_device: fn(&Cpu<'_>),
    /// What happens when all are done: on CPU 0, not explored. The other CPUs run nothing any more.
    pub end: fn(&Cpu<'_>),
}

/// A fault of the core that a scenario shows with every guard on.
#[derive(Clone, Copy)]
pub struct Known {
    /// What it is, in a few words.
    pub fault: &'static str,
    /// In which modes it shows.
    pub breaks: fn(Mode) -> bool,
}

/// What one CPU does in a scenario.
#[derive(Clone, Copy)]
pub struct Actor {
    /// The head of its column.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&Cpu<'_>),
}

impl Scenario {
    /// What is left unsaid in most scenarios: two pre-emptions, one surprise, breaks in every mode.
    pub const DEFAULT: Scenario = Scenario {
        id: "",
        title: "",
        thread: "-",
        guards: &[],
        guards_redundant: &[],
        breaks: |_| true,
        known: None,
        alike: false,
        runs: |_| true,
        nodes: 1,
        failures: false,
        bound: Bound { preemptions: 2, surprises: 1 },
        further: None,
        program: "",
        invariants: &[],
        start: |_| (),
        actors: &[],
        on_device: |_| (),
        end: |_| (),
    };

    /// Whether it is known to break in `mode` with every guard on.
    pub fn is_known_to_break(&self, mode: Mode) -> bool {
        self.known.is_some_and(|known| (known.breaks)(mode))
    }

    /// The modes it is checked in.
    pub fn modes(&self) -> Vec<Mode> {
        Mode::TOYS.iter().copied().filter(|&mode| (self.runs)(mode)).collect()
    }
}

/// The actor `name`.
pub const fn actor(name: &'static str, run: fn(&Cpu<'_>)) -> Actor {
    Actor { name, run }
}
