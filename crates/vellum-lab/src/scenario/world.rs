//! The world of one execution: a `Vm` on a [`Lab`], processes, a file.

use super::backing::{FILE_PAGES, TestFile, TestSwap};
use super::cpu::Cpu;
use super::device::{DeviceOps, Devices};
use super::file::FileOps;
use super::ops::{Ops, Prot, Shows};
use super::oracle::Oracle;
use super::pressure::PressureOps;
use super::processor;
use super::reach::{ReachOps, Reaches};
use super::swap::SwapOps;
use super::toy::{ToyOps, ToyTables};
use super::{At, Scenario, X, Y, Z};
use crate::contract::Opened;
use crate::explore::{Broken, Execution, Program, WordId, access, sim};
use crate::hardware::MachineConfig;
use crate::lab::{Action, Lab, UserError};
use crate::poison::lock;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};
use vellum::arch::{Arch, Semantics, entries, table_order};
use vellum::ops::{Advice, FaultError, MapFlags, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use vellum::phys::Kind;
use vellum::{AreaId, AuditError, CommitLimit, Error, Machine, Object, Overcommit, Space, Vm};

/// Frames of a world. Few, so that setting one up is quick: what the core keeps for itself, some tables for three
/// processes, some pages.
fn frames<A: Arch>() -> u64 {
    64 + (0..A::LEVELS).map(|level| 8u64 << table_order::<A>(level)).sum::<u64>()
}

/// A process's space.
type Handle<A> = Arc<Space<'static, Lab<A>>>;

/// What actors share beside the core.
#[derive(Default)]
pub(crate) struct Shared {
    oracle: Mutex<Oracle>,
    /// By CPU: the process it runs, and the one it ran last.
    running: Mutex<Vec<(Option<usize>, usize)>>,
    processes: AtomicU32,
    busy: AtomicU32,
    watched: Mutex<Vec<u64>>,
    notes: [AtomicU64; 8],
    pub(super) reaches: Reaches,
}

impl Shared {
    pub(crate) fn with_oracle<R>(&self, body: impl FnOnce(&mut Oracle) -> R) -> R {
        body(&mut lock(&self.oracle))
    }

    pub(crate) fn processes(&self) -> usize {
        self.processes.load(Relaxed) as usize
    }

    pub(crate) fn set_running(&self, process: Option<usize>) {
        let running = &mut lock(&self.running)[sim::current_cpu()];
        *running = (process, process.unwrap_or(running.1));
    }

    /// The process that operations of `cpu` are about: the one it runs, or ran last.
    pub(crate) fn process_of(&self, cpu: usize) -> usize {
        lock(&self.running)[cpu].1
    }

    fn runs(&self, cpu: usize) -> Option<usize> {
        lock(&self.running)[cpu].0
    }

    /// Runs an operation; see [`Shared::is_quiet`].
    pub(crate) fn busy<R>(&self, body: impl FnOnce() -> R) -> R {
        self.busy.fetch_add(1, Relaxed);
        let result = body();
        self.busy.fetch_sub(1, Relaxed);
        result
    }

    /// Whether no operation is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.busy.load(Relaxed) == 0
    }

    /// CPUs may fill their TLBs for `address`. What they may fill does not change while the CPUs run.
    pub(crate) fn watch(&self, address: u64) {
        if sim::is_exploring() {
            return;
        }
        let mut watched = lock(&self.watched);
        if !watched.contains(&address) {
            watched.push(address);
        }
    }

    pub(crate) fn note(&self, slot: usize, value: u64) {
        self.notes[slot].store(value, Relaxed);
    }

    pub(crate) fn noted(&self, slot: usize) -> u64 {
        self.notes[slot].load(Relaxed)
    }
}

/// The world of one execution.
pub(crate) struct World<A: Arch> {
    scenario: &'static Scenario,
    pub(super) shared: Arc<Shared>,
    vm: NonNull<Vm<Lab<A>>>,
    pub(super) processes: Mutex<Vec<Option<Handle<A>>>>,
    pub(super) file: Mutex<Option<Object<'static, Lab<A>>>>,
    backing: Arc<TestFile>,
    /// The file is shared memory.
    pub(super) is_memory: AtomicBool,
    /// Once there is swap.
    pub(super) swap: Mutex<Option<(TestSwap, AreaId)>>,
    pub(super) toy: ToyTables<A>,
    pub(super) devices: Devices<A>,
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
        world.cpu().switch_to(super::cpu::Process(0));
        (scenario.start)(&world.cpu());
        // Only now: nobody answers flushes before the CPUs run.
        for cpu in 1..cpus {
            sim::set_current(cpu);
            world.cpu().switch_to(super::cpu::Process(0));
            world.toy.load(cpu);
        }
        sim::set_current(0);
        world
    }

    pub(super) fn vm(&self) -> &'static Vm<Lab<A>> {
        // SAFETY: it lives until the world is dropped; handles do not leave the world, which drops them first.
        unsafe { self.vm.as_ref() }
    }

    pub(super) fn backing(&self) -> &TestFile {
        &self.backing
    }

    pub(super) fn cpu(&self) -> Cpu<'_> {
        Cpu { ops: self, shared: &self.shared }
    }

    pub(super) fn space(&self, process: usize) -> Handle<A> {
        lock(&self.processes)[process].clone().expect("the scenario uses a process that has ended")
    }

    /// A handle to the file, unless it has been closed. To count it is no step: whoever waited for the handle would wait
    /// outside the exploration.
    pub(super) fn file_handle(&self) -> Option<Object<'static, Lab<A>>> {
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
    pub(super) fn access_at(&self, process: usize, address: u64, action: Action) -> Option<u64> {
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
    pub(super) fn touch_by_device(&self, word: &AtomicU64, writes: bool) {
        let words = access::word_at(word.as_ptr().addr()).map(|word| (word, writes));
        access::touch(&words.into_iter().chain([(WordId::FILE_STORES, writes)]).collect::<Vec<_>>());
    }

    pub(super) fn bytes(&self, pages: u64) -> u64 {
        pages << A::PAGE_SHIFT
    }

    /// The pages whose translations the hardware may cache when it likes.
    fn watched(&self) -> Vec<u64> {
        if A::semantics().software_tlb { Vec::new() } else { lock(&self.shared.watched).clone() }
    }

    /// Each CPU and watched page such that the CPU could begin to cache something by way of the entry at `address`.
    fn possible_fills(&self, address: usize) -> Vec<(usize, u64)> {
        if !self.may_be_cached(address) {
            return Vec::new();
        }
        let machine = self.vm().machine();
        self.imaginable_fills().filter(|&(cpu, page)| machine.could_fill(&self.toy, cpu, page, address)).collect()
    }

    /// Each CPU and watched page.
    fn imaginable_fills(&self) -> impl Iterator<Item = (usize, u64)> {
        let watched = self.watched();
        (0..self.scenario.actors.len()).flat_map(move |cpu| watched.clone().into_iter().map(move |page| (cpu, page)))
    }

    /// Each watched page whose translation `cpu` could cache now, and does not.
    fn possible_fills_on(&self, cpu: usize) -> Vec<u64> {
        self.watched().into_iter().filter(|&page| self.vm().machine().could_fill_now(&self.toy, cpu, page)).collect()
    }

    fn fill_for(&self, cpu: usize, page: u64) {
        sim::happened_on(cpu, || format!("(fills its TLB for {page:#x} speculatively)"));
        self.vm().machine().speculate(&self.toy, cpu, page);
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

/// The request, for memory with tags.
fn with_tags<'a, 'vm, M: Machine>(request: MapRequest<'a, 'vm, M>) -> MapRequest<'a, 'vm, M> {
    request.with(MapFlags::TAGGED)
}

fn rights(prot: Prot) -> vellum::arch::Prot {
    match prot {
        Prot::None => vellum::arch::Prot::NONE,
        Prot::Read => vellum::arch::Prot::READ,
        Prot::ReadWrite => vellum::arch::Prot::READ_WRITE,
    }
}

impl<A: Arch> Ops for World<A> {
    fn address(&self, at: At) -> u64 {
        let leaf = A::shift(0) + A::index_bits(0);
        let first = A::USER_START.div_ceil(1 << leaf).max(1);
        let page = if at.1 == 3 { self.leaf_pages() - 1 } else { at.1 as u64 };
        ((first + at.0 as u64) << leaf) + self.bytes(page)
    }

    fn leaf_pages(&self) -> u64 {
        entries::<A>(0) as u64
    }

    fn page_size(&self) -> u64 {
        1 << A::PAGE_SHIFT
    }

    fn map(&self, process: usize, at: At, pages: u64, prot: Prot, shows: Shows, replace: bool) -> Result<(), Error> {
        let (length, prot) = (self.bytes(pages), rights(prot));
        let file = self.file_handle();
        let of_file = |index, sharing| {
            let file = file.as_ref().expect("the scenario maps a file that it has closed");
            MapRequest::object(file, self.bytes(index), sharing, length, prot)
        };
        let request = match shows {
            Shows::Anonymous => MapRequest::anonymous(length, prot),
            Shows::Stack => MapRequest::anonymous(length, prot).with(MapFlags::GROWS_DOWN),
            Shows::Tagged => with_tags(MapRequest::anonymous(length, prot)),
            Shows::File(index) => of_file(index, Sharing::Shared),
            Shows::PrivateFile(index) => of_file(index, Sharing::Private),
        };
        let address = self.address(at);
        let place = if replace { Place::Fixed(address) } else { Place::FixedNoReplace(address) };
        self.space(process).map(&request.at(place)).map(|_| ())
    }

    fn map_near(&self, process: usize, at: At, pages: u64, prot: Prot) -> Result<(), Error> {
        let request = MapRequest::anonymous(self.bytes(pages), rights(prot)).at(Place::Hint(self.address(at)));
        self.space(process).map(&request).map(|_| ())
    }

    fn unmap(&self, process: usize, at: At, pages: u64) -> Result<(), Error> {
        self.space(process).unmap(self.address(at), self.bytes(pages))
    }

    fn protect(&self, process: usize, at: At, pages: u64, prot: Prot) -> Result<(), Error> {
        self.space(process).protect(self.address(at), self.bytes(pages), rights(prot))
    }

    fn dont_need(&self, process: usize, at: At, pages: u64) -> Result<(), Error> {
        self.space(process).advise(self.address(at), self.bytes(pages), Advice::DontNeed)
    }

    fn remap(&self, process: usize, from: At, pages: u64, to: At) -> Result<(), Error> {
        let length = self.bytes(pages);
        let place = RemapPlace::Fixed(self.address(to));
        let request =
            RemapRequest { old: self.address(from), old_length: length, new_length: length, place, keep_old: false };
        self.space(process).remap(&request).map(|_| ())
    }

    fn fork(&self, process: usize) -> Result<usize, Error> {
        let child = self.space(process).fork()?;
        Ok(self.add(child))
    }

    fn create(&self) -> Result<usize, Error> {
        self.vm().create_space().map(|space| self.add(space))
    }

    fn exit(&self, process: usize) {
        let space = lock(&self.processes)[process].take();
        drop(space);
    }

    fn translate(&self, process: usize, at: At) -> Option<u64> {
        self.space(process).translate(self.address(at)).map(|to| to.pfn.0)
    }

    fn read_held(&self, process: usize, at: At) -> Option<u64> {
        let space = self.space(process);
        let held = space.hold(self.address(at))?;
        let frame = held.translation().pfn;
        let word = self.vm().machine().memory().word(frame, 0)?;
        access::touch(&access::word_at(word.as_ptr().addr()).map(|word| (word, false)).into_iter().collect::<Vec<_>>());
        let kind = self.vm().frame_kind(frame);
        if !matches!(kind, Some(Kind::Anonymous | Kind::File | Kind::Reserved)) {
            self.cpu().expect(false, "I-REF", &format!("frame F{:x} is held, and {kind:?}", frame.0));
        }
        Some(word.load(SeqCst))
    }

    fn access(&self, process: usize, at: At, action: Action) -> Option<u64> {
        let address = self.address(at);
        let value = self.access_at(process, address, action)?;
        // The oracle is told in the same step as the access, before anything else can run.
        let page = address >> A::PAGE_SHIFT;
        let wrong = self.shared.with_oracle(|oracle| match action {
            Action::Store { value, .. } => oracle.store(process, page, value),
            Action::Load { .. } | Action::SetTag(_) => oracle.load(process, page, value),
        });
        if let Some(wrong) = wrong {
            self.cpu().expect(false, wrong.invariant, &wrong.text);
        }
        Some(value)
    }

    fn speculate(&self, at: At) {
        self.vm().machine().speculate_here(self.vm(), self.address(at));
    }

    fn switch_to(&self, process: Option<usize>) {
        match process {
            Some(process) => self.vm().switch_to(Some(&self.space(process))),
            None => self.vm().switch_to(None),
        }
    }

    fn enter_lazy(&self) {
        self.vm().enter_lazy();
    }

    fn quiesce(&self) {
        self.vm().quiesce();
    }

    fn limit_commitment(&self, pages: u64) {
        self.vm().set_overcommit(Overcommit::Never(CommitLimit::Bytes(self.bytes(pages))));
    }

    fn committed(&self) -> u64 {
        self.vm().committed_bytes() >> A::PAGE_SHIFT
    }

    fn write_back(&self) -> Result<(), Error> {
        let file = self.file_handle();
        file.map_or(Ok(()), |file| file.write_back().map(|_| ()))
    }

    fn has_backing(&self) -> bool {
        !self.is_memory.load(Relaxed)
    }

    fn in_backing(&self, index: u64) -> u64 {
        self.backing().word(index)
    }

    fn look_at_stores(&self) {
        access::drain_own();
        access::touch(&[(WordId::FILE_STORES, false)]);
    }

    fn look_at_backing(&self) {
        let words: Vec<_> = (0..FILE_PAGES).map(|index| (WordId::of_backing(index), false)).collect();
        access::touch(&words);
    }

    fn drop_file(&self) {
        let file = lock(&self.file).take();
        drop(file);
    }

    fn maps(&self, process: usize) -> String {
        let mut lines = Vec::new();
        let mut add =
            |start: u64, end: u64, prot: vellum::arch::Prot| lines.push(format!("{start:x}-{end:x} {prot:?}"));
        self.space(process).maps(&mut |entry| add(entry.start, entry.end, entry.prot));
        lines.join("; ")
    }

    fn is_mapped(&self, process: usize, at: At) -> bool {
        let mut found = false;
        let address = self.address(at);
        self.space(process).maps(&mut |entry| found |= (entry.start..entry.end).contains(&address));
        found
    }

    fn look_at_tlbs(&self) {
        let tlbs: Vec<_> = (0..self.scenario.actors.len()).map(|cpu| (WordId::of_tlb(cpu), false)).collect();
        access::touch(&tlbs);
    }

    fn audit_tlbs(&self, process: usize) {
        for cpu in 0..self.scenario.actors.len() {
            if self.shared.runs(cpu) == Some(process) {
                self.vm().machine().audit(&self.toy, cpu);
            }
        }
    }

    fn audit(&self) {
        // SAFETY: all actors have ended.
        if let Err(error) = unsafe { self.vm().audit() } {
            let invariant = match error {
                AuditError::Rights { .. } | AuditError::Guarded { .. } => "I-VMA",
                AuditError::Swap(_) => "I-SLOT",
                AuditError::Mappings { .. } | AuditError::References { .. } => "I-REF",
                _ => "I-COUNT",
            };
            sim::report(invariant, format!("the audit finds: {error}"));
        }
    }

    fn pressure(&self) -> &dyn PressureOps {
        self
    }

    fn swap(&self) -> &dyn SwapOps {
        self
    }

    fn file(&self) -> &dyn FileOps {
        self
    }

    fn devices(&self) -> &dyn DeviceOps {
        self
    }

    fn reaches(&self) -> &dyn ReachOps {
        self
    }

    fn toy(&self) -> &dyn ToyOps {
        &self.toy
    }
}

impl<A: Arch> Execution for World<A> {
    fn memory(&self) -> Vec<Range<usize>> {
        let memory = self.vm().machine().memory();
        let of_ranges = memory.ranges().iter().map(|range| {
            let start = memory.frame(range.start).addr();
            start..start + ((range.frames as usize) << A::PAGE_SHIFT)
        });
        let vm = self.vm.as_ptr().addr();
        let swap = lock(&self.swap).as_ref().map(|(device, _)| device.marks());
        of_ranges
            .chain(std::iter::once(vm..vm + size_of::<Vm<Lab<A>>>()))
            .chain(swap)
            .chain(std::iter::once(self.devices.memory()))
            .collect()
    }

    fn run(&self, cpu: usize) {
        (self.scenario.actors[cpu].run)(&self.cpu());
    }

    fn interrupt(&self, cpu: usize) {
        if self.devices.has_interrupted(cpu) {
            sim::happened(|| "interrupt: the device's handler".into());
            (self.scenario.on_device)(&self.cpu());
        }
        if self.vm().machine().has_flush_interrupt(cpu) {
            sim::happened(|| "interrupt: flush handler".into());
            // SAFETY: a CPU is a task, whose work no other takes over.
            unsafe { self.vm().handle_interrupt() };
        }
    }

    fn may_be_cached(&self, address: usize) -> bool {
        !A::semantics().software_tlb && self.is_table(address)
    }

    fn fills_on(&self, cpu: usize) -> u8 {
        self.possible_fills_on(cpu).len() as u8
    }

    fn words_of_fills_on(&self, cpu: usize) -> Vec<WordId> {
        self.watched().into_iter().flat_map(|page| self.vm().machine().words_of_fill(&self.toy, cpu, page)).collect()
    }

    fn fill_on(&self, cpu: usize, which: u8) {
        self.fill_for(cpu, self.possible_fills_on(cpu)[which as usize]);
    }

    fn fills(&self, address: usize) -> u8 {
        self.possible_fills(address).len().min(200) as u8
    }

    fn words_of_fills(&self, address: usize) -> Vec<WordId> {
        let (fills, machine) = (self.imaginable_fills(), self.vm().machine());
        fills.flat_map(|(cpu, page)| machine.words_of_fill_by(&self.toy, cpu, page, address)).collect()
    }

    fn fill(&self, address: usize, which: u8) {
        let (cpu, page) = self.possible_fills(address)[which as usize];
        self.fill_for(cpu, page);
    }

    fn check(&self, address: usize) -> Option<Broken> {
        let frame = self.vm().machine().frame_at(address)?;
        match self.vm().frame_kind(frame)? {
            kind @ (Kind::Free | Kind::Cached | Kind::Anonymous | Kind::File) => Some(Broken {
                invariant: "I-PTFREE".into(),
                detail: format!("the core reads or writes frame F{:x} as its own, which is {kind:?}", frame.0),
            }),
            _ => None,
        }
    }

    fn describe_store(&self, address: usize, old: u64, new: u64) -> Option<String> {
        self.entry_change(address, old, new)
    }

    fn describe_detail(&self, address: usize, old: u64, new: u64) -> Option<String> {
        self.word_change(address, old, new)
    }

    fn describe_wait(&self, address: usize, holder: Option<usize>) -> Option<String> {
        Some(self.wait(address, holder))
    }

    fn end(&self) {
        for _ in 0..2 {
            for cpu in 0..self.scenario.actors.len() {
                sim::set_current(cpu);
                self.vm().quiesce();
            }
        }
        sim::set_current(0);
        for process in 0..self.shared.processes() {
            self.audit_tlbs(process);
        }
        self.audit();
        for cpu in 1..self.scenario.actors.len() {
            // Nobody answers flushes any more.
            sim::set_current(cpu);
            self.vm().switch_to(None);
        }
        sim::set_current(0);
        (self.scenario.end)(&self.cpu());
    }
}

/// A scenario on an architecture, as a program.
pub(crate) struct ScenarioProgram<A> {
    scenario: &'static Scenario,
    semantics: Semantics,
    of: PhantomData<fn(A)>,
}

impl<A: Arch> ScenarioProgram<A> {
    pub(crate) fn new(scenario: &'static Scenario, semantics: Semantics) -> Self {
        ScenarioProgram { scenario, semantics, of: PhantomData }
    }
}

impl<A: Arch> Program for ScenarioProgram<A> {
    fn cpus(&self) -> usize {
        self.scenario.actors.len()
    }

    fn start(&self) -> Arc<dyn Execution> {
        // Fewer slots than a leaf has pages would let `At` run out of its leaf.
        const { assert!(size_of::<A>() == 0) };
        debug_assert!(entries::<A>(0) >= 4);
        processor::set_semantics(self.semantics);
        Arc::new(World::<A>::new(self.scenario))
    }
}
