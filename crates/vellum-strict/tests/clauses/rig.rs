//! A machine that can be made to break each promise of an embedder, and a log of what the wrapper says.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use vellum::arch::Arch;
use vellum::{Asid, CpuSet, Machine, MemoryRange, Pfn, RootLoad};
use vellum_strict::{Breach, Checked, Clause, Strict};

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static BREACHES: RefCell<Vec<Breach>> = const { RefCell::new(Vec::new()) };
}

/// The thread is CPU `cpu` from now on.
pub fn become_cpu(cpu: usize) {
    CPU.set(cpu);
}

/// What was broken on this thread, and is forgotten now.
pub fn breaches() -> Vec<Breach> {
    BREACHES.take()
}

pub const CPUS: usize = 4;
/// Frames of each of the two ranges.
pub const FRAMES: u64 = 512;
pub const STARTS: [u64; 2] = [0x100, 0x800];

/// A machine that keeps its promises, but for one.
pub struct Toy<A> {
    storage: *mut u8,
    layout: Layout,
    ranges: [[MemoryRange; 2]; 2],
    /// The clause it breaks from now on, as a number; `u32::MAX` for none.
    lie: AtomicU32,
    tags: Mutex<BTreeMap<u64, Vec<u8>>>,
    /// What a method calls that calls back.
    pub callback: Mutex<Option<Box<dyn Fn() + Send>>>,
    _arch: PhantomData<fn(A)>,
}

// SAFETY: the pointer is to memory of the machine, and does not change.
unsafe impl<A> Send for Toy<A> {}
// SAFETY: as above.
unsafe impl<A> Sync for Toy<A> {}

impl<A: Arch> Toy<A> {
    pub fn new() -> Toy<A> {
        let page = 1usize << A::PAGE_SHIFT;
        let layout = Layout::from_size_align((2 * FRAMES as usize + 3) * page, page).expect("a layout");
        // SAFETY: the size is not zero.
        let storage = unsafe { alloc_zeroed(layout) };
        assert!(!storage.is_null());
        let range = |start, node| MemoryRange { start: Pfn(start), frames: FRAMES, node };
        let right = [range(STARTS[0], 0), range(STARTS[1], 1)];
        let ranges = [right, [right[1], right[0]]];
        let (lie, tags) = (AtomicU32::new(u32::MAX), Mutex::default());
        Toy { storage, layout, ranges, lie, tags, callback: Mutex::default(), _arch: PhantomData }
    }

    /// Breaks `clause` from now on.
    pub fn lie(&self, clause: Clause) {
        self.lie.store(clause as u32, SeqCst);
    }

    pub fn is_honest(&self, clause: Clause) -> bool {
        self.lie.load(SeqCst) != clause as u32
    }
}

impl<A> Drop for Toy<A> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, with this layout.
        unsafe { dealloc(self.storage, self.layout) };
    }
}

// SAFETY: each range has its own part of one page-aligned allocation, unless the machine is told to lie; then the tests
// do not use its memory by way of the core. One thread runs each CPU.
unsafe impl<A: Arch> Machine for Toy<A> {
    type Arch = A;

    fn cpu_count(&self) -> usize {
        if self.is_honest(Clause::CpuCount) { CPUS } else { CPUS + 1 }
    }
    fn memory(&self) -> &[MemoryRange] {
        &self.ranges[usize::from(!self.is_honest(Clause::Memory))]
    }
    fn frame(&self, pfn: Pfn) -> *mut u8 {
        let range = STARTS.iter().position(|&start| pfn.0.wrapping_sub(start) < FRAMES).unwrap_or(0);
        let index = pfn.0.wrapping_sub(STARTS[range]) as usize + range * (FRAMES as usize + 1);
        let wrong = usize::from(!self.is_honest(Clause::Frame));
        self.storage.wrapping_add((index << A::PAGE_SHIFT) + wrong * 64)
    }
    fn current_cpu(&self) -> usize {
        if self.is_honest(Clause::CurrentCpu) { CPU.get() } else { CPUS }
    }
    fn node_of_cpu(&self, cpu: usize) -> u8 {
        cpu as u8 % 2 + u8::from(!self.is_honest(Clause::NodeOfCpu))
    }
    fn disable_preemption(&self) {}
    fn enable_preemption(&self) {}
    fn prepare_root(&self, table: &mut [u64]) {
        // The kernel's half of x86-64, and its neighbour.
        table[if self.is_honest(Clause::RootUserPart) { 256 } else { 255 }] = 1;
    }
    fn load_root(&self, _load: RootLoad) {}
    fn unload_root(&self) {}
    fn invalidate_page(&self, _asid: Asid, _address: u64) {
        if let Some(callback) = self.callback.lock().unwrap().as_ref() {
            callback();
        }
    }
    fn invalidate_asid(&self, _asid: Asid) {}
    fn send_interrupt(&self, _cpus: &CpuSet) {}
    fn wait_change(&self, _word: &AtomicU32, _seen: u32) {
        if let Some(callback) = self.callback.lock().unwrap().as_ref() {
            callback();
        }
    }
    fn now(&self) -> u64 {
        NOW.get() + TIME_PASSES.replace(TIME_PASSES.get() + 1)
    }
    unsafe fn clear_page(&self, page: *mut u8) {
        let bytes = (1 << A::PAGE_SHIFT) - usize::from(!self.is_honest(Clause::Clears));
        // SAFETY: the caller's contract.
        unsafe { page.write_bytes(0, bytes) };
    }
    unsafe fn copy_page(&self, from: *const u8, to: *mut u8) {
        let bytes = (1 << A::PAGE_SHIFT) - usize::from(!self.is_honest(Clause::Copies));
        // SAFETY: the caller's contract.
        unsafe { from.copy_to(to, bytes) };
    }
    fn compress(&self, page: &[u8], into: &mut [u8]) -> Option<usize> {
        into[0] = page[0];
        page.iter().all(|&byte| byte == page[0]).then_some(1)
    }
    fn decompress(&self, from: &[u8], page: &mut [u8]) -> bool {
        page.fill(from[0] ^ u8::from(!self.is_honest(Clause::Compresses)));
        true
    }
    fn read_tags(&self, pfn: Pfn, into: &mut [u8]) {
        match self.tags.lock().unwrap().get(&pfn.0) {
            Some(tags) if self.is_honest(Clause::Tags) => into.copy_from_slice(tags),
            _ => into.fill(0),
        }
    }
    fn write_tags(&self, pfn: Pfn, tags: &[u8]) {
        self.tags.lock().unwrap().insert(pfn.0, tags.to_vec());
    }
    fn demotion_target(&self, node: u8) -> Option<u8> {
        if self.is_honest(Clause::Demotion) { (node == 0).then_some(1) } else { Some(1 - node) }
    }
}

thread_local! {
    /// The time on this thread, which passes with each look at it.
    static NOW: Cell<u64> = const { Cell::new(1000) };
    static TIME_PASSES: Cell<u64> = const { Cell::new(0) };
}

pub fn set_time(now: u64) {
    NOW.set(now);
    TIME_PASSES.set(0);
}

pub type Machined<A> = Strict<Arc<Checked<Toy<A>>>>;

/// A checked machine which notes what is broken, and goes on.
pub fn rig<A: Arch>() -> Machined<A> {
    become_cpu(0);
    set_time(1000);
    BREACHES.take();
    Strict::new(unstarted())
}

/// Its machine, which nothing has been asked yet.
pub fn unstarted<A: Arch>() -> Arc<Checked<Toy<A>>> {
    Arc::new(Checked::with_handler(Toy::new(), |breach| BREACHES.with_borrow_mut(|log| log.push(*breach))))
}

/// Runs `body` as the core does: with pre-emption off.
pub fn inside<A: Arch>(machine: &Machined<A>, body: impl FnOnce()) {
    machine.disable_preemption();
    body();
    machine.enable_preemption();
}
