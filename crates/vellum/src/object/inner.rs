//! What an object consists of, and how it comes to be.

use super::punch::Hole;
use super::registry::Links;
use super::{Backing, Cache, Object};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::moved::{Moved, Room};
use crate::phys::Pfn;
use crate::sync::{AtomicU32, AtomicU64, SleepLock};
use crate::vm::Vm;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

/// The first 16 bytes of what is freed by grace periods: [`Cx::retire`] writes there while readers may still look at
/// the rest.
#[repr(transparent)]
pub(crate) struct RetireLink<M>(pub(super) [AtomicU64<M>; 2]);

/// Where the pages of an object come from.
pub(super) enum Source<M> {
    /// Zeroes, on first use; that many bytes.
    SharedMemory(AtomicU64<M>),
    /// A backing, which is there until the object is destroyed.
    File(Moved<dyn Backing>),
}

/// An object, by identity.
#[repr(C)]
pub(crate) struct Inner<M> {
    /// While anything refers to the object: not used. Then the next to be destroyed, then the next retired.
    pub(super) link: RetireLink<M>,
    /// Handles and classes that refer to it; never leaves 0 again.
    pub(super) references: AtomicU64<M>,
    /// Constant.
    pub(super) id: u64,
    /// Constant, but for the length of shared memory.
    pub(super) source: Source<M>,
    pub(super) cache: Cache<M>,
    /// Held while dirty pages are written, so that an older state of a page never overtakes a newer one.
    pub(super) writing: SleepLock<M>,
    /// Whether all pages of its length, which is shared memory's, count as committed; constant.
    pub(super) is_committed: bool,
    /// While it is made shorter, the first page that goes; else [`u64::MAX`].
    pub(super) cut_from: AtomicU64<M>,
    /// While a hole is made in it, the pages of the hole.
    pub(super) hole: Hole<M>,
    /// Held while it is made shorter, or longer, or a hole in it.
    pub(super) cutting: SleepLock<M>,
    /// The first of the classes that show it; under a lock of the classes' registry, read without.
    pub(crate) classes: AtomicU32<M>,
    /// Under the lock of [`Objects`](super::Objects).
    pub(super) links: Links<M>,
}

// SAFETY: all fields are atomics or constant, and a backing is `Send` and `Sync` itself.
unsafe impl<M> Send for Inner<M> {}
// SAFETY: as above.
unsafe impl<M> Sync for Inner<M> {}

pub(super) const INNER_BYTES: usize = size_of::<Inner<()>>();
const _: () = assert!(INNER_BYTES <= 128 && !core::mem::needs_drop::<Inner<()>>());

impl<M: Machine> Inner<M> {
    /// One more reference. The caller has one, or a class that has.
    pub(crate) fn get(&self) {
        self.references.fetch_add(1, Relaxed);
    }

    /// One more reference, unless the object is dead: for objects found in a class that was read without a lock.
    pub(crate) fn try_get(&self) -> bool {
        let mut seen = self.references.load(Relaxed);
        while seen != 0 {
            match self.references.compare_exchange(seen, seen + 1, AcqRel) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// One reference less; whether it was the last. Then the caller must [`destroy`](super::destroy) the object,
    /// outside the core. Inside it, [`Dying::put`](super::Dying::put) helps.
    #[must_use = "whoever drops the last reference destroys the object"]
    pub(crate) fn put(&self) -> bool {
        self.references.fetch_sub(1, AcqRel) == 1
    }

    /// The identity, never used again.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether it shows a file; else it is shared memory.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// Length in bytes.
    pub(crate) fn length(&self) -> u64 {
        match self.source {
            Source::SharedMemory(ref length) => length.load(SeqCst),
            Source::File(_) => self.backing().map_or(0, |backing| backing.length()),
        }
    }

    /// Length in pages, the last of which may be used in part.
    pub(crate) fn pages(&self) -> u64 {
        self.length().div_ceil(1 << M::Arch::PAGE_SHIFT)
    }

    /// Pages of it that count as committed.
    pub(crate) fn committed_pages(&self) -> u64 {
        if self.is_committed { self.pages() } else { 0 }
    }

    /// Whether page `index` is being cut off. Whoever finds, with the lock of a leaf, that it is not may show the page
    /// there: truncation comes to that leaf later (F14).
    #[inline(always)]
    pub(crate) fn is_cut(&self, index: u64) -> bool {
        self.cut_from.load(SeqCst) <= index
    }

    /// Whether page `index` is in a hole that is being made; for who may be told by [`Inner::is_cut`].
    #[inline(always)]
    pub(crate) fn is_in_hole(&self, index: u64) -> bool {
        self.hole.has(index)
    }

    /// Which of `pages` pages from `first` on, counted from there, are in a hole that is being made; as
    /// [`Inner::is_in_hole`].
    #[inline]
    pub(crate) fn hole_within(&self, first: u64, pages: u64) -> Range<u64> {
        let within = |index: u64| index.saturating_sub(first).min(pages);
        let hole = self.hole.pages();
        within(hole.start)..within(hole.end)
    }

    /// How many of `pages` pages from `first` on are not being cut off, all at one moment; for who may be told by
    /// [`Inner::is_cut`].
    #[inline]
    pub(crate) fn uncut(&self, first: u64, pages: u64) -> u64 {
        self.cut_from.load(SeqCst).saturating_sub(first).min(pages)
    }

    /// Sleeps until nothing is being cut off or out of the object. Without a [`Cx`].
    #[cold]
    pub(super) fn await_cut(&self, vm: &Vm<M>) {
        drop(self.cutting.lock(vm));
    }

    /// Calls `act` while it is said that those pages are in a hole that is being made.
    #[cfg(test)]
    pub(crate) fn while_hole<R>(&self, pages: Range<u64>, act: impl FnOnce() -> R) -> R {
        let _begun = self.hole.begin(&pages);
        act()
    }

    /// Pages held in memory.
    pub(crate) fn cached_pages(&self) -> u64 {
        self.cache.len()
    }

    /// The frame of page `index` with a reference for the caller, if it is cached and up to date. The quick path of a
    /// fault, which may have the object from a class it read without a lock.
    #[inline]
    pub(crate) fn lookup(&self, cx: &Cx<'_, M>, index: u64) -> Option<Pfn> {
        self.cache.lookup(cx, index)
    }

    /// Calls `visit` with each cached page, in order. At quiescence.
    pub(crate) fn for_each_page(&self, cx: &Cx<'_, M>, mut visit: impl FnMut(u64, Pfn)) {
        let mut from = Some(0);
        while let Some((index, pfn)) = from.and_then(|from| self.cache.next(cx, from)) {
            visit(index, pfn);
            from = index.checked_add(1);
        }
    }

    pub(crate) fn cache(&self) -> &Cache<M> {
        &self.cache
    }

    /// The backing, of a file. For those who have a reference to the object, or destroy it.
    pub(crate) fn backing(&self) -> Option<&dyn Backing> {
        match self.source {
            Source::SharedMemory(_) => None,
            // SAFETY: the backing comes to its end after the last reference is gone, by who destroys the object.
            Source::File(backing) => Some(unsafe { backing.get() }),
        }
    }
}

/// Creates shared memory of `pages` pages, which are committed if they are `reserved`; see [`Vm::shared_memory`].
pub(crate) fn shared_memory<M: Machine>(vm: &Vm<M>, pages: u64, reserved: bool) -> Result<Object<'_, M>, Error> {
    check_size::<M>(pages)?;
    let committed = if reserved { pages } else { 0 };
    let _ticket = vm.may_commit(committed, || 0)?;
    let length = AtomicU64::new(pages << M::Arch::PAGE_SHIFT);
    let object = create(vm, Source::SharedMemory(length), reserved)?;
    Cx::enter(vm).commit_pages(committed as i64);
    Ok(object)
}

/// Whether shared memory may have so many pages.
pub(crate) fn check_size<M: Machine>(pages: u64) -> Result<(), Error> {
    let shift = M::Arch::PAGE_SHIFT;
    let is_small = pages >> (63 - shift) == 0;
    is_small.then_some(()).ok_or(Error::OutOfRange { start: 0, length: pages.saturating_mul(1 << shift) })
}

/// The backing of a file that no object has yet; it ends with this, also if another panics while memory is freed.
pub(crate) struct Homeless<'vm, M: Machine>(&'vm Vm<M>, Moved<dyn Backing>);

impl<'vm, M: Machine> Homeless<'vm, M> {
    /// Moves `backing` into its room.
    pub(crate) fn new<B: Backing + 'static>(vm: &'vm Vm<M>, room: Room<B>, backing: B) -> Self {
        Homeless(vm, room.fill(backing, |backing| backing as NonNull<dyn Backing>))
    }

    /// Creates the object which shows the file: from then on it has the backing, and this is to be forgotten.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; then the backing has no object still.
    pub(crate) fn create_object(&self) -> Result<Object<'vm, M>, Error> {
        create(self.0, Source::File(self.1), false)
    }
}

impl<M: Machine> Drop for Homeless<'_, M> {
    fn drop(&mut self) {
        // SAFETY: no object has it, and nobody else knows it.
        unsafe { self.1.end(self.0) };
    }
}

fn create<M: Machine>(vm: &Vm<M>, source: Source<M>, is_committed: bool) -> Result<Object<'_, M>, Error> {
    let cx = Cx::enter(vm);
    let inner = cx.slab_alloc(INNER_BYTES)?.cast::<Inner<M>>();
    let value = Inner {
        link: RetireLink([const { AtomicU64::new(0) }; 2]),
        references: AtomicU64::new(1),
        id: vm.next_id(),
        source,
        cache: Cache::new(),
        writing: SleepLock::new(),
        cut_from: AtomicU64::new(u64::MAX),
        hole: Hole::none(),
        cutting: SleepLock::new(),
        classes: AtomicU32::new(0),
        is_committed,
        links: Links::new(),
    };
    // SAFETY: the slab object is large enough, aligned, and nobody else's.
    unsafe { inner.write(value) };
    vm.objects().add(&cx, inner);
    // SAFETY: the first reference.
    Ok(unsafe { Object::of_reference(vm, inner) })
}
