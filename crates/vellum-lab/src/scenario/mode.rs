//! The hardware a scenario runs on.

use super::Scenario;
use super::processor::Processor;
use super::world::ScenarioProgram;
use crate::explore::{MemoryOrder, Program};
use std::fmt;
use std::sync::Arc;
use vellum::arch::{Arch, Semantics, Shootdown, Tiny, TinyAssist, TinyBlind, TinyBroadcast};

/// An architecture and an order of memory. Two of the same name are the same.
#[derive(Clone, Copy)]
pub struct Mode {
    /// Its name, as the command spells it.
    pub name: &'static str,
    /// The architecture's semantics.
    pub semantics: Semantics,
    /// The order of memory.
    pub order: MemoryOrder,
    program: fn(&'static Scenario, Semantics) -> Arc<dyn Program>,
}

impl Mode {
    /// The mode `tiny`.
    pub const SOFT: Mode = Mode::toy::<Tiny>("tiny", MemoryOrder::Tso);
    /// The mode `tiny-assist`.
    pub const ASSIST: Mode = Mode::toy::<TinyAssist>("tiny-assist", MemoryOrder::Tso);
    /// The mode `tiny-assist-sc`.
    pub const ASSIST_SC: Mode = Mode::toy::<TinyAssist>("tiny-assist-sc", MemoryOrder::Sc);
    /// The mode `tiny-blind`.
    pub const BLIND: Mode = Mode::toy::<TinyBlind>("tiny-blind", MemoryOrder::Tso);
    /// The mode `tiny-broadcast`.
    pub const BROADCAST: Mode = Mode {
        name: "tiny-broadcast",
        semantics: TinyBroadcast::SEMANTICS,
        order: MemoryOrder::Tso,
        program: on_broadcast,
    };

    /// The toy's modes: interrupts without and with hardware bits, sequentially consistent, stores through clean
    /// entries that do not look at the table, and broadcasts.
    pub const TOYS: &[Mode] = &[Mode::SOFT, Mode::ASSIST, Mode::ASSIST_SC, Mode::BLIND, Mode::BROADCAST];

    /// Scenarios on the architecture `A`. The core and the laboratory are compiled for it where this is used: let it be
    /// a function or a static of yours, as a constant is compiled again by each crate that uses it.
    pub const fn of<A: Arch>(name: &'static str, order: MemoryOrder) -> Mode {
        Mode { name, semantics: A::SEMANTICS, order, program: program::<A> }
    }

    /// A toy that flushes by interrupt, with the semantics of `A`.
    const fn toy<A: Arch>(name: &'static str, order: MemoryOrder) -> Mode {
        Mode { name, semantics: A::SEMANTICS, order, program: on_processor }
    }

    /// Whether flushes interrupt nobody.
    pub fn is_broadcast(self) -> bool {
        self.semantics.shootdown == Shootdown::Broadcast
    }

    /// Whether stores are delayed.
    pub fn is_tso(self) -> bool {
        self.order == MemoryOrder::Tso
    }

    /// Of a mode whose stores are in order, the one with the same semantics whose stores may be late.
    pub fn with_late_stores(self) -> Option<Mode> {
        (self == Mode::ASSIST_SC).then_some(Mode::ASSIST)
    }

    /// The one that differs from this in what the processor does with the marks of entries, and in nothing else.
    pub fn without_marks(self) -> Option<Mode> {
        (self == Mode::ASSIST || self == Mode::BLIND).then_some(Mode::SOFT)
    }

    /// `scenario` as a program.
    pub(super) fn program(self, scenario: &'static Scenario) -> Arc<dyn Program> {
        (self.program)(scenario, self.semantics)
    }
}

// Not generic, so that they are compiled here.

fn on_processor(scenario: &'static Scenario, semantics: Semantics) -> Arc<dyn Program> {
    program::<Processor>(scenario, semantics)
}

fn on_broadcast(scenario: &'static Scenario, semantics: Semantics) -> Arc<dyn Program> {
    program::<TinyBroadcast>(scenario, semantics)
}

fn program<A: Arch>(scenario: &'static Scenario, semantics: Semantics) -> Arc<dyn Program> {
    Arc::new(ScenarioProgram::<A>::new(scenario, semantics))
}

impl PartialEq for Mode {
    fn eq(&self, other: &Mode) -> bool {
        self.name == other.name
    }
}

impl Eq for Mode {}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
