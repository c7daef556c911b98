//! The kernel reaches into a program's memory: what system calls do with their arguments.

use super::At;
use super::cpu::Cpu;
use super::oracle::Wrong;
use super::world::{Shared, World};
use crate::explore::sim;
use crate::lab::Reached;
use crate::poison::lock;
use std::sync::Mutex;
use vellum::Space;
use vellum::arch::Arch;
use vellum::ops::{FaultError, WordError};
use vellum::sync::Modify;

/// What a CPU is about to do to the word of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Load,
    Store(u64),
    Add(u64),
}

/// What CPUs are about to do, until they have done it: the oracle is told in the same step.
#[derive(Default)]
pub(crate) struct Reaches(Mutex<Vec<(usize, Planned)>>);

/// One CPU's plan.
struct Planned {
    process: usize,
    page: u64,
    reach: Reach,
    /// What was found wrong with it.
    wrong: Option<Wrong>,
}

impl Shared {
    /// The core has reached into a page on the current CPU.
    pub(crate) fn has_reached(&self, reached: Reached) {
        let mut plans = lock(&self.reaches.0);
        let Some((_, plan)) = plans.iter_mut().find(|(cpu, _)| *cpu == sim::current_cpu()) else { return };
        let Planned { process, page, reach, .. } = *plan;
        plan.wrong = self.with_oracle(|oracle| match reach {
            Reach::Load => oracle.load(process, page, reached.before),
            Reach::Store(_) => oracle.store(process, page, reached.after),
            Reach::Add(_) => {
                oracle.load(process, page, reached.before).or_else(|| oracle.store(process, page, reached.after))
            }
        });
    }
}

/// What a world can do with programs' memory; as [`super::ops::Ops`].
pub(crate) trait ReachOps {
    /// Does `reach` to the word of a page, and says what it was before, or for a store what it is then; `None` if the
    /// program could not have.
    fn reach(&self, process: usize, at: At, reach: Reach) -> Option<u64>;
}

impl<A: Arch> ReachOps for World<A> {
    fn reach(&self, process: usize, at: At, reach: Reach) -> Option<u64> {
        let address = super::ops::Ops::address(self, at);
        let cpu = sim::current_cpu();
        let plan = Planned { process, page: address >> A::PAGE_SHIFT, reach, wrong: None };
        lock(&self.shared.reaches.0).push((cpu, plan));
        let space = self.space(process);
        let result = loop {
            let failures = sim::failures();
            match self.shared.busy(|| carry_out(&space, address, reach)) {
                // An allocation that failed on purpose is tried again.
                Err(FaultError::OutOfMemory { .. }) if sim::failures() > failures => {}
                result => break result,
            }
        };
        let plan = {
            let mut plans = lock(&self.shared.reaches.0);
            let place = plans.iter().position(|(of, _)| *of == cpu);
            place.map(|place| plans.swap_remove(place).1)
        };
        if let Some(wrong) = plan.and_then(|plan| plan.wrong) {
            self.cpu().expect(false, wrong.invariant, &wrong.text);
        }
        result.inspect_err(|error| sim::happened(|| format!("fails: {error}"))).ok()
    }
}

fn carry_out<M: vellum::Machine>(space: &Space<'_, M>, address: u64, reach: Reach) -> Result<u64, FaultError> {
    match reach {
        Reach::Load => {
            let mut bytes = [0; 8];
            space.copy_in(address, &mut bytes).map(|()| u64::from_ne_bytes(bytes))
        }
        Reach::Store(value) => space.copy_out(address, &value.to_ne_bytes()).map(|()| value),
        Reach::Add(value) => match space.update_word(address, Modify::Add(value)) {
            Ok(Ok(old) | Err(old)) => Ok(old),
            Err(WordError::Fault(error)) => Err(error),
            Err(error @ WordError::Unaligned { .. }) => unreachable!("{error}"),
        },
    }
}

impl Cpu<'_> {
    /// The kernel copies the page's word out of the program; `None` if the program could not load it.
    pub fn copy_in(&self, at: At) -> Option<u64> {
        self.reach("copy in from", at, Reach::Load)
    }

    /// The kernel copies `value` to the page's word; whether it could.
    pub fn copy_out(&self, at: At, value: u64) -> bool {
        self.reach("copy out to", at, Reach::Store(value)).is_some()
    }

    /// The kernel adds `value` to the page's word by one atomic instruction; what it was before.
    pub fn add_to_word(&self, at: At, value: u64) -> Option<u64> {
        self.reach("add to the word at", at, Reach::Add(value))
    }

    fn reach(&self, what: &str, at: At, reach: Reach) -> Option<u64> {
        self.shared.watch(self.ops.address(at));
        sim::happened(|| format!("{what} {:#x}", self.ops.address(at)));
        self.ops.reaches().reach(self.process(), at, reach)
    }
}
