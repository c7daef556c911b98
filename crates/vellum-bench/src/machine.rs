//! The machine that is measured: as thin as a kernel's own, so that what is counted is the core.
//!
//! One host thread is CPU 0 of [`CPUS`]; the others never run. Frames are found by adding, as in a kernel's direct map;
//! disabling pre-emption and invalidating are an increment each.

use super::record;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use vellum::arch::X86_64;
use vellum::{Asid, CpuSet, Machine, MemoryRange, Pfn, RootLoad, Touch};

/// CPUs of the machine: enough that what is kept for each CPU shows.
pub const CPUS: usize = 4;
/// Bytes of a page.
pub const PAGE: usize = 4096;

const PAGE_SHIFT: u32 = PAGE.trailing_zeros();
const FIRST: u64 = 256;

/// Whether [`clear`] is to be kept apart: inside the measured window.
static APART: AtomicBool = AtomicBool::new(false);

/// Sets whether pages are cleared by [`cleared_apart`] from now on.
pub fn clear_apart(on: bool) {
    APART.store(on, Relaxed);
}

/// What [`super::step`] looks at after each instruction: whether pre-emption is off.
static PREEMPTION: AtomicU32 = AtomicU32::new(0);

/// Whether it is.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub fn is_preemption_off() -> bool {
    PREEMPTION.load(Relaxed) != 0
}

/// Runs `body`, which is not to be counted.
#[inline(always)]
fn uncounted(body: impl FnOnce()) {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    super::step::without(body);
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    body();
    // Not the last call: a jump instead of a call and a return would not be seen as one.
    std::hint::black_box(());
}

/// Whether the host's memory is there before it is used: see [`have_ready`].
static READY: AtomicBool = AtomicBool::new(false);

/// Sets whether all memory of an [`Arena`] is stored to when it is made. Where time is measured it must be: otherwise
/// the host's own faults are. For anything else that takes longer than what is measured.
pub fn have_ready(on: bool) {
    READY.store(on, Relaxed);
}

/// Page-aligned memory of the host.
pub struct Arena {
    base: *mut u8,
    pages: usize,
    allocated: *mut u8,
    layout: Layout,
}

// SAFETY: the arena is memory and its bounds; who uses which part of it is the users' affair, as with any memory.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// `pages` pages of zeroes.
    pub fn new(pages: usize) -> Arena {
        assert!(pages > 0, "an arena has at least a page");
        // A page more, to begin at one: what is asked for with a page's alignment is stored to by the allocator.
        let layout = Layout::array::<u8>((pages + 1) * PAGE).expect("an arena has a legal size");
        // SAFETY: the size is not zero.
        let allocated = unsafe { alloc_zeroed(layout) };
        if allocated.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: less than a page further, of the page more.
        let base = unsafe { allocated.add(allocated.align_offset(PAGE)) };
        if READY.load(Relaxed) {
            // SAFETY: the pages lie in what was allocated, which nothing refers to yet. Volatile: it is zero already.
            (0..pages).for_each(|page| unsafe { base.add(page * PAGE).write_volatile(0) });
        }
        Arena { base, pages, allocated, layout }
    }

    /// The addresses of its pages.
    pub fn pages(&self) -> impl Iterator<Item = usize> + use<> {
        let base = self.base.expose_provenance();
        (0..self.pages).map(move |page| base + page * PAGE)
    }

    /// Clears the page at `address`, one of [`Arena::pages`].
    #[inline(always)]
    pub fn clear_at(&self, address: usize) {
        let offset = address.wrapping_sub(self.base.addr());
        assert!(offset < self.pages * PAGE && offset.is_multiple_of(PAGE), "{address:#x} is no page of the arena");
        // SAFETY: the page lies in the arena, whose memory is nobody's Rust object.
        unsafe { clear(self.base.add(offset)) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.allocated, self.layout) };
    }
}

/// Clears a page.
///
/// # Safety
/// `page` is valid for writes of a page that nothing else accesses.
#[inline(always)]
pub unsafe fn clear(page: *mut u8) {
    // SAFETY: the caller's contract.
    unsafe { clear_all(page, PAGE) }
}

/// Clears `bytes` bytes.
///
/// # Safety
/// `memory` is valid for writes of so many, which nothing else accesses.
#[inline(always)]
unsafe fn clear_all(memory: *mut u8, bytes: usize) {
    if APART.load(Relaxed) {
        // SAFETY: the caller's contract.
        unsafe { cleared_apart(memory, bytes) }
    } else {
        // SAFETY: the caller's contract.
        unsafe { memory.write_bytes(0, bytes) }
    }
}

/// Clears memory inside the measured window; the counting stops while this runs, which it knows by name.
///
/// # Safety
/// As [`clear_all`].
#[inline(never)]
unsafe fn cleared_apart(memory: *mut u8, bytes: usize) {
    // SAFETY: the caller's contract.
    uncounted(|| unsafe { memory.write_bytes(0, bytes) });
}

/// Copies a page inside the measured window; the counting stops while this runs, as in [`cleared_apart`].
///
/// # Safety
/// As [`Machine::copy_page`].
#[inline(never)]
unsafe fn cleared_apart_by_copying(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's contract.
    uncounted(|| unsafe { to.copy_from_nonoverlapping(from, PAGE) });
}

/// Lets `body`, which is a device's work, run without being counted where the counting stops for clearing.
pub fn apart(body: &mut dyn FnMut()) {
    if APART.load(Relaxed) { cleared_apart_for(body) } else { body() }
}

/// As [`cleared_apart`], for anything.
#[inline(never)]
fn cleared_apart_for(body: &mut dyn FnMut()) {
    uncounted(body);
}

/// The machine. With `RECORD`, what the core touches is counted by [`record`].
pub struct BenchMachine<const RECORD: bool> {
    arena: Arena,
    /// Where frame 0 would lie.
    frame_zero: *mut u8,
    ranges: [MemoryRange; 2],
    cpu: AtomicUsize,
    invalidations: AtomicU64,
    root: AtomicU64,
}

// SAFETY: the pointer is to memory the machine owns, and never changed.
unsafe impl<const RECORD: bool> Send for BenchMachine<RECORD> {}
// SAFETY: as above.
unsafe impl<const RECORD: bool> Sync for BenchMachine<RECORD> {}

fn range(start: u64, frames: usize, node: u8) -> MemoryRange {
    MemoryRange { start: Pfn(start), frames: frames as u64, node }
}

impl<const RECORD: bool> BenchMachine<RECORD> {
    /// A machine of `frames` frames.
    pub fn new(frames: usize) -> Self {
        let arena = Arena::new(frames);
        BenchMachine {
            frame_zero: arena.base.wrapping_sub((FIRST as usize) << PAGE_SHIFT),
            arena,
            // The second node, for pages to be moved to, is a quarter.
            ranges: [range(FIRST, frames - frames / 4, 0), range(FIRST + (frames - frames / 4) as u64, frames / 4, 1)],
            cpu: AtomicUsize::new(0),
            invalidations: AtomicU64::new(0),
            root: AtomicU64::new(0),
        }
    }

    #[inline(always)]
    fn count_invalidation(&self) {
        self.invalidations.store(self.invalidations.load(Relaxed) + 1, Relaxed);
    }
}

// SAFETY: the frames are the arena's pages, consecutive and page-aligned, for the life of the machine; nothing else
// uses them. One thread runs the machine, always as CPU 0.
unsafe impl<const RECORD: bool> Machine for BenchMachine<RECORD> {
    type Arch = X86_64;

    fn cpu_count(&self) -> usize {
        CPUS
    }

    fn memory(&self) -> &[MemoryRange] {
        &self.ranges
    }

    #[inline(always)]
    fn frame(&self, pfn: Pfn) -> *mut u8 {
        debug_assert!(((pfn.0 - FIRST) as usize) << PAGE_SHIFT < self.arena.layout.size());
        self.frame_zero.wrapping_add((pfn.0 as usize) << PAGE_SHIFT)
    }

    #[inline(always)]
    fn current_cpu(&self) -> usize {
        self.cpu.load(Relaxed)
    }

    #[inline(always)]
    fn disable_preemption(&self) {
        PREEMPTION.store(PREEMPTION.load(Relaxed).wrapping_add(1), Relaxed);
    }

    #[inline(always)]
    fn enable_preemption(&self) {
        PREEMPTION.store(PREEMPTION.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    fn load_root(&self, load: RootLoad) {
        self.root.store(load.root.0, Relaxed);
    }

    fn unload_root(&self) {
        self.root.store(0, Relaxed);
    }

    #[inline(always)]
    fn invalidate_page(&self, _asid: Asid, _address: u64) {
        self.count_invalidation();
    }

    #[inline(always)]
    fn invalidate_asid(&self, _asid: Asid) {
        self.count_invalidation();
    }

    fn send_interrupt(&self, cpus: &CpuSet) {
        unreachable!("the other CPUs have nothing loaded, and {cpus:?} is interrupted");
    }

    fn wait_change(&self, word: &AtomicU32, seen: u32) {
        unreachable!("there is nobody to change {:#x} from {seen}", word.as_ptr() as usize);
    }

    fn now(&self) -> u64 {
        0
    }

    #[inline(always)]
    unsafe fn clear_page(&self, page: *mut u8) {
        // SAFETY: the caller's contract.
        unsafe { clear(page) }
    }

    #[inline(always)]
    unsafe fn clear_frames(&self, first: Pfn, frames: u64) {
        // SAFETY: the caller's contract, and the frames lie side by side.
        unsafe { clear_all(self.frame(first), frames as usize * PAGE) }
    }

    #[inline(always)]
    unsafe fn copy_page(&self, from: *const u8, to: *mut u8) {
        if APART.load(Relaxed) {
            // SAFETY: the caller's contract.
            unsafe { cleared_apart_by_copying(from, to) }
        } else {
            // SAFETY: the caller's contract.
            unsafe { to.copy_from_nonoverlapping(from, PAGE) }
        }
    }

    /// A page of one word only becomes that word. Left out of the counts, as copying is.
    fn compress(&self, page: &[u8], into: &mut [u8]) -> Option<usize> {
        let mut length = None;
        apart(&mut || {
            let word = &page[..size_of::<u64>()];
            if page.chunks_exact(size_of::<u64>()).all(|other| other == word) {
                into[..word.len()].copy_from_slice(word);
                length = Some(word.len());
            }
        });
        length
    }

    fn decompress(&self, from: &[u8], page: &mut [u8]) -> bool {
        apart(&mut || page.chunks_exact_mut(from.len()).for_each(|word| word.copy_from_slice(from)));
        from.len() == size_of::<u64>()
    }

    #[inline(always)]
    fn observe(address: usize, touch: Touch) {
        if RECORD {
            record::observe(address, touch);
        }
    }
}
