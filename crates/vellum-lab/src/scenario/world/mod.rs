//! The world of one execution: a `Vm` on a [`Lab`], processes, a file.

mod execution;
mod ops;
mod program;
mod shared;

pub(crate) use program::ScenarioProgram;
pub(crate) use shared::Shared;

use super::backing::{TestFile, TestSwap};
use super::cpu::{Cpu, Process};
use super::device::Devices;
use super::ops::Ops;
use super::toy::ToyTables;
use super::{Scenario, X, Y, Z};
use crate::contract::Opened;
use crate::explore::{WordId, access, sim};
use crate::hardware::MachineConfig;
use crate::lab::{Action, Lab, UserError};
use crate::poison::lock;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use vellum::arch::{Arch, table_order};
use vellum::ops::FaultError;
use vellum::{AreaId, Object, Space, Vm};

/// Frames of a world. Few, so that setting one up is quick: what the core keeps for itself, some tables for three
/// processes, some pages.
fn frames<A: Arch>() -> u64 {
    64 + (0..A::LEVELS).map(|level| 8u64 << table_order::<A>(level)).sum::<u64>()
}

/// A process's space.
type Handle<A> = Arc<Space<'static, Lab<A>>>;

/// The world of one execution.
pub(crate) struct World<A: Arch> {
    scenario: &'static Scenario,
    pub(in crate::scenario) shared: Arc<Shared>,
    vm: NonNull<Vm<Lab<A>>>,
    pub(in crate::scenario) processes: Mutex<Vec<Option<Handle<A>>>>,
    pub(in crate::scenario) file: Mutex<Option<Object<'static, Lab<A>>>>,
    backing: Arc<TestFile>,
    /// The file is shared memory.
    pub(in crate::scenario) is_memory: AtomicBool,
    /// Once there is swap.
    pub(in crate::scenario) swap: Mutex<Option<(TestSwap, AreaId)>>,
    pub(in crate::scenario) toy: ToyTables<A>,
    pub(in crate::scenario) devices: Devices<A>,
}

// SAFETY: the pointer is to a `Vm` that belongs to the world, which is `Sync` itself.
unsafe impl<A: Arch> Send for World<A> {}
// SAFETY: as above.
unsafe impl<A: Arch> Sync for World<A> {}

impl<A: Arch> World<A> {
    fn new(scenario: &'static Scenario) -> World<A> {
        let cpus = scenario.actors.len();
        let nodes = scenario.nodes;
        let config = MachineConfig::with_nodes(cpus, frames::<A>() * u64::from(nodes), nodes);
        let machine = Lab::new(&config).expect("the host has room for a small world");
        let shared = Arc::new(Shared::default());
        let of_world = Arc::clone(&shared);
        machine.on_reach(move |reached| of_world.has_reached(reached));
        let vm = Box::new(Vm::new(machine).unwrap_or_else(|error| panic!("the core refuses the world: {error}")));
        let vm = NonNull::from(Box::leak(vm));
        let world = World {
            scenario,
            shared: Arc::clone(&shared),
            vm,
            processes: Mutex::default(),
            file: Mutex::default(),
            backing: Arc::new(TestFile::new(1 << A::PAGE_SHIFT)),
            is_memory: AtomicBool::new(false),
            swap: Mutex::default(),
            toy: ToyTables::new(vm),
            devices: Devices::new(cpus),
        };
        [X, Y, Z].into_iter().for_each(|at| world.shared.watch(world.address(at)));
        *lock(&world.shared.running) = vec![(None, 0); cpus];
        *lock(&world.file) = Some(world.vm().file(Opened::of(&world.backing)).expect("a new world has memory"));
        world.create().expect("a new world has memory");
        sim::set_current(0);
        world.cpu().switch_to(Process(0));
        (scenario.start)(&world.cpu());
        // Only now: nobody answers flushes before the CPUs run.
        for cpu in 1..cpus {
            sim::set_current(cpu);
            world.cpu().switch_to(Process(0));
            world.toy.load(cpu);
        }
        sim::set_current(0);
        world
    }

    pub(in crate::scenario) fn vm(&self) -> &'static Vm<Lab<A>> {
        // SAFETY: it lives until the world is dropped; handles do not leave the world, which drops them first.
        unsafe { self.vm.as_ref() }
    }

    pub(in crate::scenario) fn backing(&self) -> &TestFile {
        &self.backing
    }

    pub(in crate::scenario) fn cpu(&self) -> Cpu<'_> {
        Cpu { ops: self, shared: &self.shared }
    }

    pub(in crate::scenario) fn space(&self, process: usize) -> Handle<A> {
        lock(&self.processes)[process].clone().expect("the scenario uses a process that has ended")
    }

    /// A handle to the file, unless it has been closed. To count it is no step: whoever waited for the handle would
    /// wait outside the exploration.
    pub(in crate::scenario) fn file_handle(&self) -> Option<Object<'static, Lab<A>>> {
        let file = lock(&self.file);
        sim::quietly(|| file.clone())
    }

    fn add(&self, space: Space<'static, Lab<A>>) -> usize {
        let mut processes = lock(&self.processes);
        processes.push(Some(Arc::new(space)));
        self.shared.processes.store(processes.len() as u32, Relaxed);
        processes.len() - 1
    }

    /// What a user of `process` does to the word at `address`; `None` if the program gets a signal for it.
    pub(in crate::scenario) fn access_at(&self, process: usize, address: u64, action: Action) -> Option<u64> {
        let space = self.space(process);
        let resolve = |kind| {
            let failures = sim::failures();
            match self.shared.busy(|| space.fault(address, kind)) {
                Ok(_) => Ok(()),
                // The program is not told: an allocation that failed on purpose is tried again with the access.
                Err(FaultError::OutOfMemory { .. }) if sim::failures() > failures => Ok(()),
                Err(error) => Err(error),
            }
        };
        match self.vm().machine().user_access(self.vm(), address, action, resolve) {
            Ok(value) => Some(value),
            Err(UserError::Fault(error)) => {
                sim::happened(|| format!("signal: {error}"));
                None
            }
            Err(UserError::Broken) => None,
        }
    }

    /// The step in which a device reads or stores to the word of a page that it holds.
    pub(in crate::scenario) fn touch_by_device(&self, word: &AtomicU64, writes: bool) {
        let words = access::word_at(word.as_ptr().addr()).map(|word| (word, writes));
        access::touch(&words.into_iter().chain([(WordId::FILE_STORES, writes)]).collect::<Vec<_>>());
    }

    pub(in crate::scenario) fn bytes(&self, pages: u64) -> u64 {
        pages << A::PAGE_SHIFT
    }
}

impl<A: Arch> Drop for World<A> {
    fn drop(&mut self) {
        sim::set_current(0);
        for cpu in 0..self.scenario.actors.len() {
            sim::set_current(cpu);
            self.vm().switch_to(None);
        }
        sim::set_current(0);
        lock(&self.processes).clear();
        lock(&self.file).take();
        // SAFETY: it was leaked in `new`, and every handle to the `Vm` is gone.
        drop(unsafe { Box::from_raw(self.vm.as_ptr()) });
    }
}
