//! What the embedder supplies: memory, processors, the primitive flush steps.
//!
//! Everything else is the core's. A [`Machine`] is a value, not a global: one binary may hold several.

use crate::arch::{Arch, identifiers};
use crate::cpuset::CpuSet;
use crate::guard::Guard;
use crate::pfn::Pfn;
use crate::sync::{Modify, Word};
use core::sync::atomic::{AtomicU32, Ordering};

/// A contiguous range of usable physical memory on one NUMA node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// First frame of the range.
    pub start: Pfn,
    /// Length in frames; may be zero.
    pub frames: u64,
    /// NUMA node, from 0; at most [`crate::phys::NODES_MAX`] nodes.
    pub node: u8,
}

/// What one access to shared state does; see [`Machine::observe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// A load.
    Load,
    /// A plain store.
    Store,
    /// An atomic read-modify-write.
    Modify,
}

/// An address-space identifier as the hardware knows it: what tags TLB entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asid(pub u16);

/// A page-table root to load on the current CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootLoad {
    /// Frame of the root table.
    pub root: Pfn,
    /// Tag for the entries filled from it.
    pub asid: Asid,
    /// Whether entries tagged with `asid` that the CPU still holds are valid for `root`.
    pub keep_entries: bool,
}

/// A space whose end would free much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// The space.
    pub space: u64,
    /// Its resident pages of anonymous memory.
    pub anonymous: u64,
    /// Its pages in swap.
    pub swapped: u64,
}

impl Victim {
    /// Pages that its end frees at most.
    pub fn pages(&self) -> u64 {
        self.anonymous.saturating_add(self.swapped)
    }
}

/// The hardware and host environment of one Vellum instance.
///
/// Contract common to all methods: callable from any CPU, without locks of the core held unless stated, and never
/// calling back into the core except as stated.
///
/// # Safety
/// The core trusts the implementation with its memory. [`Machine::frame`] must return, for each frame of
/// [`Machine::memory`], a pointer valid for reads and writes of one page that nothing else uses, stable for the life
/// of the machine, aligned to the page size, with the pages of consecutive frames of one range consecutive in memory;
/// [`Machine::current_cpu`] must be below [`Machine::cpu_count`] and, between [`Machine::disable_preemption`] and
/// [`Machine::enable_preemption`], return the same value, which no other thread of execution gets meanwhile.
pub unsafe trait Machine: Sized + Send + Sync + 'static {
    /// The processor's formats and semantics.
    type Arch: Arch;

    /// Whether a sequentially consistent [`Machine::modify`] is a full barrier, so that loads after it are not
    /// satisfied before its store is visible: a property of the processor that runs this code. For laboratories to
    /// deny.
    const SWAP_IS_BARRIER: bool = cfg!(target_arch = "x86_64");

    /// Number of CPUs, 1 to [`crate::cpuset::CPUS_MAX`]; constant.
    fn cpu_count(&self) -> usize;

    /// The ranges of memory the core may use, disjoint and in ascending order; constant.
    fn memory(&self) -> &[MemoryRange];

    /// The direct map: where frame `pfn` lies in the core's address space; constant, for each frame.
    fn frame(&self, pfn: Pfn) -> *mut u8;

    /// The CPU this code runs on.
    fn current_cpu(&self) -> usize;

    /// The NUMA node whose memory CPU `cpu` prefers; constant. A node without memory, or above
    /// [`crate::phys::NODES_MAX`], stands for the nearest one by number that has some.
    fn node_of_cpu(&self, cpu: usize) -> u8 {
        let _ = cpu;
        0
    }

    /// Keeps the caller on its CPU, and others off it, until the matching [`Machine::enable_preemption`].
    /// Flush interrupts stay enabled.
    ///
    /// The core does not nest its own calls, makes none in [`crate::Vm::handle_interrupt`], and has undone this one
    /// wherever the embedder may sleep: in [`Machine::sleep`], [`Machine::compress`], [`Machine::decompress`],
    /// [`Machine::out_of_memory`], and every method of a [`crate::Backing`] or a [`crate::SwapDevice`]. An embedder
    /// which calls with pre-emption off what does not sleep, as a scheduler calls [`crate::Vm::switch_to`], has to
    /// count: the core's pair then lies within its own.
    fn disable_preemption(&self);

    /// Ends what [`Machine::disable_preemption`] began.
    fn enable_preemption(&self);

    /// Fills the part of a new root table outside the user range (the kernel's half); `table` has the architecture's
    /// number of root entries, all zero. The default leaves them empty.
    fn prepare_root(&self, table: &mut [u64]) {
        let _ = table;
    }

    /// Loads a page-table root on the current CPU. Pre-emption is off.
    fn load_root(&self, load: RootLoad);

    /// Loads a root without user mappings on the current CPU, which leaves the space it was in. Pre-emption is off.
    fn unload_root(&self);

    /// Invalidates this CPU's entries for one page of `asid`, and its paging-structure caches for that address.
    fn invalidate_page(&self, asid: Asid, address: u64);

    /// Invalidates all entries and paging-structure caches of `asid` on this CPU.
    fn invalidate_asid(&self, asid: Asid);

    /// Interrupts each CPU of `cpus` (never the current one), which must then call
    /// [`crate::Vm::handle_interrupt`]. Does not wait. May be called with table locks held.
    fn send_interrupt(&self, cpus: &CpuSet);

    /// Invalidates all entries and paging-structure caches of all identifiers the core uses, on this CPU. Called at
    /// switches, after identifiers were given to other spaces, on architectures whose flush is a broadcast; otherwise
    /// unused. The default invalidates one after the other.
    fn invalidate_all(&self) {
        for asid in 1..=identifiers::<Self::Arch>() {
            self.invalidate_asid(Asid(asid as u16));
        }
    }

    /// Begins invalidating `pages` pages of `asid` from `start` on, with the paging-structure caches for them, on all
    /// CPUs, this one included; `pages` may be more than a space has, and all of `asid` may be invalidated instead.
    /// What this CPU stored to tables before must be visible to walks that begin afterwards.
    ///
    /// For architectures whose flush is a broadcast; otherwise unused. May be called with table locks held.
    fn broadcast_invalidate(&self, asid: Asid, start: u64, pages: u64) {
        let _ = (asid, start, pages);
    }

    /// Waits until the broadcasts this CPU began have completed everywhere: also walks, loads and stores that other
    /// CPUs began with what was invalidated. Called on the CPU which began them. Must not wait for anything else:
    /// table locks may be held.
    fn broadcast_wait(&self) {}

    /// Runs `body`, which is short and does not sleep, with this CPU's interrupts off, those of devices too. Called in
    /// [`crate::Vm::switch_to`], around a lock, on architectures whose flush is a broadcast; otherwise unused.
    ///
    /// The default just runs it. That is enough if `switch_to` is called with interrupts off everywhere, or nowhere
    /// with a lock held that an interrupt handler takes.
    #[inline(always)]
    fn with_interrupts_off<R>(&self, body: impl FnOnce() -> R) -> R {
        body()
    }

    /// Waits a short while for `word` to differ from `seen`; may return early, must not sleep (table locks may be
    /// held). Every wait of the core on another CPU goes through here or [`Machine::sleep`].
    fn wait_change(&self, word: &AtomicU32, seen: u32);

    /// Sleeps until [`Machine::wake`] is called on `word`, if that is `seen` when it is looked at last; may return
    /// early. Between that look and sleep no wake is lost. No lock is held and pre-emption is on.
    fn sleep(&self, word: &AtomicU32, seen: u32) {
        self.wait_change(word, seen);
    }

    /// Wakes the sleepers on `word`. What this CPU stored before is visible to whoever goes to sleep afterwards. May be
    /// called with locks held.
    fn wake(&self, word: &AtomicU32) {
        let _ = word;
    }

    /// Monotonic time in nanoseconds.
    fn now(&self) -> u64;

    /// Clears one page. The default writes zeroes; an embedder may use what its processor does best.
    ///
    /// # Safety
    /// `page` is valid for writes of a page and nothing else accesses it.
    unsafe fn clear_page(&self, page: *mut u8) {
        // SAFETY: the caller's contract.
        unsafe { core::ptr::write_bytes(page, 0, 1 << <Self::Arch as Arch>::PAGE_SHIFT) }
    }

    /// Clears `frames` consecutive frames from `first` on, which lie in one range: a huge page, with pre-emption on.
    /// The default clears page by page; an embedder whose direct map has them side by side may clear all at once.
    ///
    /// # Safety
    /// Nothing else accesses these frames.
    unsafe fn clear_frames(&self, first: Pfn, frames: u64) {
        for page in 0..frames {
            // SAFETY: the caller's contract.
            unsafe { self.clear_page(self.frame(first.offset(page))) };
        }
    }

    /// Copies one page. The default copies bytes; an embedder may use what its processor does best.
    ///
    /// # Safety
    /// `from` is valid for reads and `to` for writes of a page, both are page-aligned, and nothing else accesses `to`.
    unsafe fn copy_page(&self, from: *const u8, to: *mut u8) {
        // SAFETY: the caller's contract.
        unsafe { core::ptr::copy_nonoverlapping(from, to, 1 << <Self::Arch as Arch>::PAGE_SHIFT) }
    }

    /// As [`Machine::copy_page`], while programs store to the source: any mix of old and new words is as good.
    ///
    /// # Safety
    /// As for [`Machine::copy_page`].
    unsafe fn snapshot_page(&self, from: *const u8, to: *mut u8) {
        let words = (1usize << <Self::Arch as Arch>::PAGE_SHIFT) / size_of::<u64>();
        for word in 0..words {
            // SAFETY: the caller's contract; volatile because of the stores of others.
            unsafe { to.cast::<u64>().add(word).write(from.cast::<u64>().add(word).read_volatile()) };
        }
    }

    /// Copies `length` bytes, at most a page, from or to a program's page, while others access that: any mix of old and
    /// new bytes is as good, but an aligned word of 8 bytes must not be torn where both sides are aligned to it. The
    /// default copies such words one by one, or bytes; an embedder may use what its processor does best. Pre-emption is
    /// off, and the lock of a page table may be held.
    ///
    /// # Safety
    /// `from` is valid for reads and `to` for writes of `length` bytes; they do not overlap. If it is no
    /// program's, nobody else accesses `to`, and nobody stores to `from`.
    unsafe fn copy_user(&self, from: *const u8, to: *mut u8, length: usize) {
        const WORD: usize = size_of::<u64>();
        let has_words = (from.addr() ^ to.addr()).is_multiple_of(WORD);
        let mut done = 0;
        while done < length {
            // SAFETY: both stay within what the caller's contract says; a word is copied only where both are aligned to
            // one. Volatile because of the accesses of others.
            unsafe {
                let (from, to) = (from.add(done), to.add(done));
                if has_words && from.addr().is_multiple_of(WORD) && length - done >= WORD {
                    to.cast::<u64>().write_volatile(from.cast::<u64>().read_volatile());
                    done += WORD;
                } else {
                    to.write_volatile(from.read_volatile());
                    done += 1;
                }
            }
        }
    }

    /// Loads a word of a program's page, or carries `change` out on it, sequentially consistent; as [`Word::modify`].
    /// The default does just that. Pre-emption is off and the lock of a page table held.
    fn user_word<W: Word>(&self, word: &W, change: Option<Modify<W::Value>>) -> Result<W::Value, W::Value> {
        match change {
            Some(change) => word.modify(change, Ordering::SeqCst),
            None => Ok(word.load(Ordering::SeqCst)),
        }
    }

    /// Compresses a page into `into`, which is as long; the length of the result, or `None` if the page does not get
    /// smaller or the machine has no compressor: then the compressed tier of swap is not used. Called without locks and
    /// with pre-emption on: it may be slow, and sleep.
    fn compress(&self, page: &[u8], into: &mut [u8]) -> Option<usize> {
        let _ = (page, into);
        None
    }

    /// Restores a page from what [`Machine::compress`] made of it; whether that was possible. Called like that.
    fn decompress(&self, from: &[u8], page: &mut [u8]) -> bool {
        let _ = (from, page);
        false
    }

    /// Reads the memory tags of a frame, packed: [`crate::arch::TagFormat::bytes`] bytes. Called only where the
    /// architecture has tags; locks may be held.
    fn read_tags(&self, pfn: Pfn, into: &mut [u8]) {
        let _ = pfn;
        into.fill(0);
    }

    /// Sets the memory tags of a frame, in the form of [`Machine::read_tags`].
    fn write_tags(&self, pfn: Pfn, tags: &[u8]) {
        let _ = (pfn, tags);
    }

    /// No memory is left, and none could be reclaimed: `victim` is the space whose end would free most. An embedder
    /// ends that program, or another, and says whether trying again may help; otherwise the operation fails. Called
    /// without locks and with pre-emption on; may sleep.
    fn out_of_memory(&self, victim: &Victim) -> bool {
        let _ = victim;
        false
    }

    /// The slower memory node to which pages of `node` go before they are reclaimed; constant, and leading in no
    /// circle.
    fn demotion_target(&self, node: u8) -> Option<u8> {
        let _ = node;
        None
    }

    /// Whether the next allocation of `1 << order` frames may be tried: false makes it fail. For failure injection.
    #[inline(always)]
    fn allow_allocation(&self, order: u8) -> bool {
        let _ = order;
        true
    }

    // What follows is for laboratories; it compiles to the processor's own instructions, or to nothing, unless
    // overridden.

    /// Told of each access to shared state, before it happens.
    #[inline(always)]
    fn observe(address: usize, touch: Touch) {
        let _ = (address, touch);
    }

    /// Carries out a load from shared state.
    #[inline(always)]
    fn load<W: Word>(word: &W, order: Ordering) -> W::Value {
        Self::observe((&raw const *word).addr(), Touch::Load);
        word.load(order)
    }

    /// Carries out a store to shared state.
    #[inline(always)]
    fn store<W: Word>(word: &W, value: W::Value, order: Ordering) {
        Self::observe((&raw const *word).addr(), Touch::Store);
        word.store(value, order)
    }

    /// Carries out an atomic read-modify-write of shared state; as [`Word::modify`].
    #[inline(always)]
    fn modify<W: Word>(word: &W, change: Modify<W::Value>, order: Ordering) -> Result<W::Value, W::Value> {
        Self::observe((&raw const *word).addr(), Touch::Modify);
        word.modify(change, order)
    }

    /// Carries out a fence.
    #[inline(always)]
    fn fence(order: Ordering) {
        core::sync::atomic::fence(order);
    }

    /// Whether a protection of the core is on. An implementation that ever says no gives up the core's promises: a
    /// laboratory does, to see what the protection is for.
    #[inline(always)]
    fn guard(guard: Guard) -> bool {
        let _ = guard;
        true
    }
}
