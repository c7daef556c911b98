//! Vellum's side: the core on the deterministic machine, called as a kernel would call it for Linux's programs.
//!
//! * `file`: the files' contents. `pressure`: what happens to memory between operations.

mod file;
mod pressure;

use crate::abi;
use crate::arena::{self, PAGE};
use crate::files::{self, Ends, FILES, FileSpec};
use crate::maps::{Flags, Line, Shown};
use crate::op::{Call, Outcome, PROCESSES};
use crate::sum;
use file::Contents;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use vellum::arch::{Arch, Prot, X86_64};
use vellum::ops::FaultError;
use vellum::{AreaId, Event, Object, Space};
use vellum_lab::AccessError;
use vellum_lab::contract::Opened;
use vellum_lab::hardware::MachineConfig;
use vellum_lab::host::Host;
use vellum_lab::hosted::Hosted;
use vellum_lab::swap_device::MemoryDevice;
use vellum_linux::{Errno, File};

/// The machine.
pub(crate) type Machine = Host<X86_64>;

/// Frames of the machine, on two nodes: enough that no sequence ends for want of memory.
const FRAMES: u64 = 3000;
/// And if mappings are so large that huge pages fit.
const LARGE_FRAMES: u64 = 24_000;
/// Pages of the swap area.
const SWAP_PAGES: u64 = 1024;
/// CPUs of the machine.
const CPUS: usize = 2;

/// Makes a machine for one sequence; `is_large`: of mappings so large that huge pages fit.
///
/// # Errors
/// Why there is none.
pub fn machine(is_large: bool) -> Result<Hosted<X86_64>, String> {
    let frames = if is_large { LARGE_FRAMES } else { FRAMES };
    Hosted::new(&MachineConfig::with_nodes(CPUS, frames, 2)).map_err(|error| error.to_string())
}

/// Vellum, running a sequence. Nothing is dropped on the way out of a failure: the core may be in any state then.
pub struct Ours<'h> {
    hosted: &'h Hosted<X86_64>,
    /// By number: the processes that are alive.
    spaces: [Option<ManuallyDrop<Space<'h, Machine>>>; PROCESSES],
    files: Vec<OpenFile<'h>>,
    device: Arc<MemoryDevice>,
    swap: Option<AreaId>,
    cpu: usize,
    has_been_pressed: bool,
    is_large: bool,
    /// Pages that pressure has freed or moved.
    pressed: u64,
}

struct OpenFile<'h> {
    object: ManuallyDrop<Object<'h, Machine>>,
    /// What is behind it, unless it is memory.
    contents: Option<Arc<Contents>>,
}

impl<'h> Ours<'h> {
    /// Begins a sequence: with one process, number 0, with nothing in its arena, and fresh files.
    ///
    /// # Errors
    /// What fails.
    pub fn begin(hosted: &'h Hosted<X86_64>, has_heap: bool, ends: Ends, is_large: bool) -> Result<Ours<'h>, String> {
        let mut ours = Ours {
            hosted,
            spaces: Default::default(),
            files: Vec::new(),
            device: Arc::new(MemoryDevice::new(SWAP_PAGES, PAGE as usize)),
            swap: None,
            cpu: 0,
            has_been_pressed: false,
            is_large,
            pressed: 0,
        };
        let space = hosted.vm().create_space().map_err(|error| error.to_string())?;
        ours.prepare(&space, has_heap).map_err(|error| format!("Vellum cannot begin: {error:?}"))?;
        ours.spaces[0] = Some(ManuallyDrop::new(space));
        for number in 0..FILES.len() {
            let file = ours.open(number, ends)?;
            ours.files.push(file);
        }
        Ok(ours)
    }

    /// Leaves nothing free but the arena.
    fn prepare(&self, space: &Space<'h, Machine>, has_heap: bool) -> Result<(), Errno> {
        let flags = abi::MAP_PRIVATE | abi::MAP_ANONYMOUS | abi::MAP_NORESERVE | abi::MAP_FIXED;
        for (start, end) in [(X86_64::USER_START, arena::START), (arena::END, X86_64::USER_END)] {
            vellum_linux::mmap(space, start, end - start, 0, flags, None, 0)?;
        }
        if has_heap {
            space.set_brk_base(arena::page(arena::HEAP)).map_err(Errno::from)?;
        }
        space.set_stack_limit(arena::STACK_LIMIT);
        Ok(())
    }

    fn open(&self, number: usize, ends: Ends) -> Result<OpenFile<'h>, String> {
        let (vm, say) = (self.hosted.vm(), |error: vellum::Error| error.to_string());
        let bytes = files::contents(number, ends);
        if FILES[number].is_memory {
            let object = vm.shared_memory(FILES[number].length / PAGE).map_err(say)?;
            fill(self.hosted, &object, &bytes)?;
            return Ok(OpenFile { object: ManuallyDrop::new(object), contents: None });
        }
        let contents = Arc::new(Contents::new(bytes));
        let object = vm.file(Opened::of(&contents)).map_err(say)?;
        Ok(OpenFile { object: ManuallyDrop::new(object), contents: Some(contents) })
    }

    /// Pages that [pressure](crate::op::Op::pressure) has freed or moved.
    pub fn pressed(&self) -> u64 {
        self.pressed
    }

    /// Pages that were written to swap, and read back.
    pub fn swapped(&self) -> (u64, u64) {
        let totals = self.hosted.vm().totals();
        (totals.get(Event::SwapOut), totals.get(Event::SwapIn))
    }

    /// Huge pages that were mapped, of shared memory, too, and those that small ones were made of.
    pub fn huge(&self) -> (u64, u64) {
        let totals = self.hosted.vm().totals();
        let mapped = totals.get(Event::HugeFault) + totals.get(Event::SharedHugeMapped);
        (mapped, totals.get(Event::SplitMapping))
    }

    /// Carries an operation out in process `process`, after what happens to memory by `pressure`; `child` is the number
    /// of the process that it forks. Where a mapping goes that may go anywhere, `chosen` says: there it is brought, if
    /// it went elsewhere.
    ///
    /// # Errors
    /// What no program can see, and must not happen.
    pub fn step(
        &mut self,
        (process, call, child): (usize, &Call, usize),
        pressure: u32,
        chosen: Option<u64>,
    ) -> Result<Outcome, String> {
        self.cpu = process % CPUS;
        if pressure != 0 {
            self.press(pressure)?;
        }
        self.call(process, call, child, chosen)
    }

    /// Carries a call out in process `process`.
    ///
    /// # Errors
    /// What no program can see, and must not happen.
    pub fn call(&mut self, process: usize, call: &Call, child: usize, chosen: Option<u64>) -> Result<Outcome, String> {
        self.hosted.machine().set_cpu(self.cpu);
        let space = self.space(process)?;
        match *call {
            Call::Load { address } => {
                let mut word = [0; 8];
                let loaded = self.hosted.load_into(self.cpu, space, address, &mut word);
                accessed(loaded, u64::from_le_bytes(word))
            }
            Call::Store { address, value } => {
                accessed(self.hosted.store(self.cpu, space, address, &value.to_le_bytes()), 0)
            }
            Call::Read { address, value } => Ok(match space.copy_out(address, &value.to_le_bytes()) {
                Ok(()) => Outcome::Value(0),
                Err(_) => Outcome::Error(abi::EFAULT),
            }),
            Call::Write { address } => {
                let mut word = [0; 8];
                let copied = space.copy_in(address, &mut word);
                Ok(copied.map_or(Outcome::Error(abi::EFAULT), |()| Outcome::Value(u64::from_le_bytes(word))))
            }
            Call::Fork => {
                let forked = space.fork().map_err(|error| format!("fork: {error}"))?;
                self.spaces[child] = Some(ManuallyDrop::new(forked));
                Ok(Outcome::Value(0))
            }
            Call::Exit => {
                self.spaces[process].take().map(ManuallyDrop::into_inner);
                Ok(Outcome::Value(0))
            }
            Call::Truncate { file, length } => Ok(outcome(self.truncate(file, length))),
            Call::Residency { address, length } => {
                let mut pages = 0;
                let mut tell = |page, value: u8| pages |= u64::from(value & 1) << (page % 64);
                let result = vellum_linux::mincore(space, address, length, &mut tell);
                Ok(result.map_or_else(|error| Outcome::Error(error.0), |()| Outcome::Resident(pages)))
            }
            _ => Ok(outcome(self.memory_call(space, call, chosen))),
        }
    }

    fn memory_call(&self, space: &Space<'h, Machine>, call: &Call, chosen: Option<u64>) -> Result<u64, Errno> {
        match *call {
            Call::Map { address, length, prot, flags, file, offset } => {
                let map = |at, flags| vellum_linux::mmap(space, at, length, prot, flags, self.file(file), offset);
                match (map(address, flags)?, chosen) {
                    (went, Some(chosen)) if may_go(address, went, chosen) => {
                        vellum_linux::munmap(space, went, length)?;
                        map(chosen, flags | abi::MAP_FIXED)
                    }
                    (went, _) => Ok(went),
                }
            }
            Call::Unmap { address, length } => vellum_linux::munmap(space, address, length).map(|()| 0),
            Call::Protect { address, length, prot } => vellum_linux::mprotect(space, address, length, prot).map(|()| 0),
            Call::Remap { address, length, new_length, flags, new_address } => {
                let went = vellum_linux::mremap(space, address, length, new_length, flags, new_address)?;
                match chosen {
                    Some(chosen) if may_go(address, went, chosen) => {
                        let flags = abi::MREMAP_MAYMOVE | abi::MREMAP_FIXED;
                        vellum_linux::mremap(space, went, new_length, new_length, flags, chosen)
                    }
                    _ => Ok(went),
                }
            }
            Call::Advise { address, length, advice } => {
                vellum_linux::madvise(space, address, length, advice).map(|()| 0)
            }
            Call::Sync { address, length, flags } => vellum_linux::msync(space, address, length, flags).map(|()| 0),
            Call::Brk { end } => Ok(vellum_linux::brk(space, end)),
            Call::Load { .. }
            | Call::Store { .. }
            | Call::Read { .. }
            | Call::Write { .. }
            | Call::Residency { .. }
            | Call::Truncate { .. }
            | Call::Fork
            | Call::Exit => unreachable!("{call} is no call about a range"),
        }
    }

    fn file(&self, number: i32) -> Option<File<'_, 'h, Machine>> {
        let number = usize::try_from(number).ok().filter(|number| *number < FILES.len())?;
        let FileSpec { readable, writable, .. } = FILES[number];
        Some(File { object: &self.files[number].object, readable, writable })
    }

    /// `ftruncate`, as a file system carries it out.
    fn truncate(&self, number: i32, length: u64) -> Result<u64, Errno> {
        if length > i64::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        let number = usize::try_from(number).ok().filter(|number| *number < FILES.len()).ok_or(Errno::EBADF)?;
        if !FILES[number].writable {
            return Err(Errno::EINVAL);
        }
        let file = &self.files[number];
        match &file.contents {
            Some(contents) if length < file.object.length() => {
                contents.set_length(length);
                file.object.truncate(length).map_err(Errno::from)?;
            }
            Some(contents) => file.object.grow(|| contents.set_length(length)),
            None if length < file.object.length() => file.object.truncate(length).map_err(Errno::from)?,
            None => file.object.extend(length).map_err(Errno::from)?,
        }
        Ok(0)
    }

    fn space(&self, process: usize) -> Result<&Space<'h, Machine>, String> {
        self.spaces[process].as_deref().ok_or_else(|| format!("process {process} is gone"))
    }

    /// Lets process `child` be the same as process `parent`: for those who seed mistakes.
    pub fn share(&mut self, parent: usize, child: usize) {
        self.spaces[child] = self.spaces[parent].clone();
    }

    /// What process `process` has mapped.
    ///
    /// # Errors
    /// If it is gone.
    pub fn maps(&self, process: usize) -> Result<Vec<Line>, String> {
        let mut lines = Vec::new();
        self.space(process)?.maps(&mut |entry| {
            if entry.start < arena::END && entry.end > arena::START {
                let file = self.files.iter().position(|file| file.object.id() == entry.object);
                lines.push(Line {
                    start: entry.start.max(arena::START),
                    end: entry.end.min(arena::END),
                    prot: entry.prot.raw() & 7,
                    is_shared: entry.is_shared,
                    shown: match (entry.object, file) {
                        (0, _) => Shown::Nothing,
                        (_, Some(number)) => Shown::File(number as u64),
                        (object, None) => Shown::Unnamed(object),
                    },
                    offset: entry.offset,
                    flags: Flags {
                        grows_down: entry.grows_down,
                        no_reserve: entry.no_reserve,
                        dont_fork: entry.dont_fork,
                        wipe_on_fork: entry.wipe_on_fork,
                        dont_dump: entry.dont_dump,
                        huge: entry.huge_pages,
                        no_huge: entry.no_huge_pages,
                        committed: entry.is_committed && entry.prot.has(Prot::WRITE),
                    },
                });
            }
        });
        Ok(lines)
    }

    /// The sums of all pages of `lines`, as process `process` sees them.
    ///
    /// # Errors
    /// What no program can see, and must not happen.
    pub fn sums(&mut self, process: usize, lines: &[Line]) -> Result<Vec<u64>, String> {
        let mut page = [0; PAGE as usize];
        let mut sums = Vec::new();
        for address in lines.iter().flat_map(|line| (line.start..line.end).step_by(PAGE as usize)) {
            let loaded = self.hosted.load_into(self.cpu, self.space(process)?, address, &mut page);
            sums.push(match accessed(loaded, 0)? {
                Outcome::Signal(signal, code, _) => sum::of_page(|_| Err(signal | code << 16)),
                _ => sum::of_page(|offset| Ok(word_at(&page, offset as usize))),
            });
        }
        Ok(sums)
    }

    /// What file `number` contains, in its backing, if it has one.
    ///
    /// # Errors
    /// What must not fail and does.
    pub fn contents(&self, number: usize) -> Result<Vec<u8>, String> {
        let file = &self.files[number];
        file.object.write_back().map_err(|error| format!("writing a file back: {error}"))?;
        match &file.contents {
            Some(contents) => Ok(contents.bytes()),
            None => read(self.hosted, &file.object),
        }
    }

    /// The core's audit of itself, and what the simulated hardware noticed.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.hosted.audit_tlbs();
        if let Some(violation) = self.hosted.take_violations().first() {
            return Err(violation.to_string());
        }
        // SAFETY: CPUs take turns, and none is inside the core.
        unsafe { self.hosted.vm().audit() }.map(|_| ()).map_err(|error| format!("audit: {error}"))
    }

    /// Ends everything: no frame may be left.
    ///
    /// # Errors
    /// What is left.
    pub fn end(mut self) -> Result<(), String> {
        self.spaces.iter_mut().for_each(|space| drop(space.take().map(ManuallyDrop::into_inner)));
        self.files.drain(..).for_each(|file| drop(ManuallyDrop::into_inner(file.object)));
        for round in 0..2 * CPUS {
            self.hosted.on(round % CPUS, || self.hosted.vm().quiesce());
        }
        self.check()?;
        let usage = self.hosted.vm().usage();
        if usage.anonymous + usage.file + usage.tables != 0 {
            return Err(format!("frames are left after the end: {usage:?}"));
        }
        if self.swap.is_some() { self.switch_swap() } else { Ok(()) }
    }
}

/// Whether a mapping that went to `went` may go to `chosen` as well: neither is where the program would have it.
fn may_go(wanted: u64, went: u64, chosen: u64) -> bool {
    let wanted = wanted & !(PAGE - 1);
    went != chosen && went != wanted && chosen != wanted
}

fn outcome(result: Result<u64, Errno>) -> Outcome {
    result.map_or_else(|error| Outcome::Error(error.0), Outcome::Value)
}

/// What came of an access which, if nothing happened, has loaded `value`.
fn accessed(result: Result<(), AccessError>, value: u64) -> Result<Outcome, String> {
    match result {
        Ok(()) => Ok(Outcome::Value(value)),
        Err(AccessError::Fault(FaultError::Segv { address, denied })) => {
            let code = if denied { abi::SEGV_ACCERR } else { abi::SEGV_MAPERR };
            Ok(Outcome::Signal(abi::SIGSEGV, code, address))
        }
        Err(AccessError::Fault(FaultError::Bus { address, .. })) => {
            Ok(Outcome::Signal(abi::SIGBUS, abi::BUS_ADRERR, address))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn word_at(bytes: &[u8], offset: usize) -> u64 {
    bytes[offset..offset + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Where an object is mapped to be looked at, in a space of its own.
const WINDOW: u64 = arena::START;

fn window<'h>(
    hosted: &'h Hosted<X86_64>,
    object: &Object<'h, Machine>,
    length: u64,
) -> Result<Space<'h, Machine>, String> {
    let space = hosted.vm().create_space().map_err(|error| error.to_string())?;
    let file = Some(File { object, readable: true, writable: true });
    let (rights, flags) = (abi::PROT_READ | abi::PROT_WRITE, abi::MAP_SHARED | abi::MAP_FIXED);
    vellum_linux::mmap(&space, WINDOW, length, rights, flags, file, 0).map_err(|error| format!("{error:?}"))?;
    Ok(space)
}

fn fill<'h>(hosted: &'h Hosted<X86_64>, object: &Object<'h, Machine>, bytes: &[u8]) -> Result<(), String> {
    let space = window(hosted, object, bytes.len() as u64)?;
    hosted.store(0, &space, WINDOW, bytes).map_err(|error| error.to_string())?;
    hosted.idle(0);
    Ok(())
}

fn read<'h>(hosted: &'h Hosted<X86_64>, object: &Object<'h, Machine>) -> Result<Vec<u8>, String> {
    if object.length() == 0 {
        return Ok(Vec::new());
    }
    let space = window(hosted, object, object.length())?;
    let bytes = hosted.load(0, &space, WINDOW, object.length() as usize).map_err(|error| error.to_string());
    hosted.idle(0);
    bytes
}
