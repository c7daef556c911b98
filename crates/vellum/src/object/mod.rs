//! What a mapping shows beside private anonymous memory: shared memory, and files through a page cache.
//!
//! An object is counted by its handles ([`Object`]) and by the attribute classes that name it. What it consists of is
//! an [`Inner`] in a slab, freed a grace period after the last reference was dropped, so that a fault may look a page
//! up ([`Inner::lookup`]) with nothing but a class it has read optimistically. Dropping the last reference does not
//! destroy the object, since that sleeps: inside the core, a [`Dying`] keeps it until the core is left.
//!
//! | file | what |
//! |---|---|
//! | `radix` | the tree, lockless for readers |
//! | `cache` | pages in it, with their references |
//! | `page` | getting a page: adding, reading, waiting |
//! | `writeback` | bringing stores to the backing |
//! | `truncate` | making an object shorter, and longer |
//! | `punch` | making a hole in an object |
//! | `unmap` | taking pages out of whatever shows them, for both |
//! | `registry` | all objects of an instance |

mod cache;
mod page;
mod punch;
mod radix;
mod registry;
#[cfg(test)]
mod tests;
mod truncate;
mod unmap;
mod writeback;

pub(crate) use crate::phys::release;
pub(crate) use cache::Cache;
pub(crate) use page::{
    begin_filling, end_filling, get_page, is_page_of, is_up_to_date, mark_dirty, read_ahead, rss_kind,
};
pub(crate) use registry::Objects;
pub(crate) use writeback::write_unmapped;

use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
pub use crate::error::IoError;
pub(crate) use crate::error::PageError;
use crate::machine::Machine;
use crate::moved::{Moved, Room};
use crate::phys::Pfn;
use crate::sync::{AtomicU32, AtomicU64, SleepLock};
use crate::vm::Vm;
use core::cell::Cell;
use core::fmt;
use core::ops::{Deref, Range};
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};
use punch::Hole;
use registry::Links;

/// A file, or whatever else pages can be read from and written to; what the embedder implements.
///
/// # The end
/// The backing is moved into the core's memory by [`Vm::file`], and dropped there, once, when the object is at its end:
/// when the last of its handles and mappings is gone, after the last write of a page. That drop is the notice of the
/// end. It belongs to the operation that ends the last use, and is over when that returns: dropping an [`Object`] or a
/// [`Space`](crate::Space), unmapping or mapping something else in its place, failing to map it; or, if at that moment
/// others work on a page of the object, the last of these: a fault, migration, or reclaim (so any operation that
/// allocates). It happens on that operation's CPU, with pre-emption on and no spinlock held, may sleep, and must not do
/// what the methods must not do. What a handle that is forgotten keeps is dropped with the [`Vm`], without what was not
/// written.
///
/// # Calls
/// The methods may sleep, and are called with pre-emption on, holding nothing but sleeping locks of objects and their
/// pages. Any operation which allocates may call them, to free memory, and has pages of several objects in hand then: so
/// they must not wait for an operation on an object, this or another, nor touch memory of programs, whose faults may: a
/// fault waits for a truncation of the object, which waits for pages that are being written.
pub trait Backing: Send + Sync {
    /// Length in bytes. It grows within [`Object::grow`]; elsewhere too, if what programs have stored behind the end may
    /// become the file's then. Pages beyond an end that has moved down are no longer written.
    fn length(&self) -> u64;

    /// Fills `page`, which is one page long, with page `index`. Of the last page, what lies beyond the end is ignored.
    ///
    /// # Errors
    /// [`IoError`]: the fault which wanted the page fails, and the next one tries again.
    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError>;

    /// Stores page `index`; of the last page, what lies beyond the end is zero, and to be ignored.
    ///
    /// # Errors
    /// [`IoError`]: the page stays dirty, unless the object is at its end.
    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError>;

    /// Whether [`Backing::punch`] does anything. If not, which is the default, [`Object::punch`] is refused.
    fn can_punch(&self) -> bool {
        false
    }

    /// Makes `length` bytes from `start` on read as zero, as `fallocate` does with `FALLOC_FL_PUNCH_HOLE`; part pages at
    /// the edges too. The length stays as it is, also if the range goes beyond it.
    ///
    /// # Errors
    /// [`IoError`]: some of it may be zero then.
    fn punch(&self, start: u64, length: u64) -> Result<(), IoError> {
        let _ = (start, length);
        Err(IoError)
    }
}

/// What leads to a backing is one: a reference, a `Box`, an `Arc`.
impl<P: Deref<Target: Backing> + Send + Sync> Backing for P {
    fn length(&self) -> u64 {
        (**self).length()
    }

    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        (**self).read(index, page)
    }

    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        (**self).write(index, page)
    }

    fn can_punch(&self) -> bool {
        (**self).can_punch()
    }

    fn punch(&self, start: u64, length: u64) -> Result<(), IoError> {
        (**self).punch(start, length)
    }
}

/// The first 16 bytes of what is freed by grace periods: [`Cx::retire`] writes there while readers may still look at
/// the rest.
#[repr(transparent)]
pub(crate) struct RetireLink<M>([AtomicU64<M>; 2]);

/// Where the pages of an object come from.
enum Source<M> {
    /// Zeroes, on first use; that many bytes.
    SharedMemory(AtomicU64<M>),
    /// A backing, which is there until the object is destroyed.
    File(Moved<dyn Backing>),
}

/// An object, by identity.
#[repr(C)]
pub(crate) struct Inner<M> {
    /// While anything refers to the object: not used. Then the next to be destroyed, then the next retired.
    link: RetireLink<M>,
    /// Handles and classes that refer to it; never leaves 0 again.
    references: AtomicU64<M>,
    /// Constant.
    id: u64,
    /// Constant, but for the length of shared memory.
    source: Source<M>,
    cache: Cache<M>,
    /// Held while dirty pages are written, so that an older state of a page never overtakes a newer one.
    writing: SleepLock<M>,
    /// Whether all pages of its length, which is shared memory's, count as committed; constant.
    is_committed: bool,
    /// While it is made shorter, the first page that goes; else [`u64::MAX`].
    cut_from: AtomicU64<M>,
    /// While a hole is made in it, the pages of the hole.
    hole: Hole<M>,
    /// Held while it is made shorter, or longer, or a hole in it.
    cutting: SleepLock<M>,
    /// The first of the classes that show it; under a lock of the classes' registry, read without.
    pub(crate) classes: AtomicU32<M>,
    /// Under the lock of [`Objects`].
    links: Links<M>,
}

// SAFETY: all fields are atomics or constant, and a backing is `Send` and `Sync` itself.
unsafe impl<M> Send for Inner<M> {}
// SAFETY: as above.
unsafe impl<M> Sync for Inner<M> {}

const INNER_BYTES: usize = size_of::<Inner<()>>();
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

    /// One reference less; whether it was the last. Then the caller must [`destroy`] the object, outside the core.
    /// Inside it, [`Dying::put`] helps.
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
    fn await_cut(&self, vm: &Vm<M>) {
        drop(self.cutting.lock(vm));
    }

    /// Calls `act` while it is said that those pages are in a hole that is being made.
    #[cfg(test)]
    fn while_hole<R>(&self, pages: Range<u64>, act: impl FnOnce() -> R) -> R {
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
    Ok(Object { vm, inner })
}

/// Ends an object whose last reference is gone: writes dirty pages of a file back, counting failures
/// ([`Event::WriteBackError`](crate::stat::Event::WriteBackError)), and frees everything; last, drops the backing.
/// Sleeps: without a [`Cx`].
///
/// To be called once, by whom [`Inner::put`] has said so.
pub(crate) fn destroy<M: Machine>(vm: &Vm<M>, inner: NonNull<Inner<M>>) {
    // Dropped also if the backing panics when it is written to: then what is dirty is lost, and nothing else.
    let ending = Ending { vm, inner };
    // SAFETY: the object is freed when `ending` is dropped, and by nobody else.
    let inner = unsafe { inner.as_ref() };
    debug_assert_eq!(inner.references.load(Relaxed), 0, "an object is destroyed while it is referred to");
    writeback::write_back_last(vm, inner);
    drop(ending);
}

/// An object that nobody refers to any more, whose pages are written: dropping this frees it.
struct Ending<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    inner: NonNull<Inner<M>>,
}

impl<M: Machine> Drop for Ending<'_, M> {
    fn drop(&mut self) {
        /// Nodes of the cache freed before the core is left for a moment.
        const NODES: usize = 8;
        let vm = self.vm;
        // SAFETY: the object is freed below, and by nobody else.
        let inner = unsafe { self.inner.as_ref() };
        let prune = || {
            let cx = Cx::enter(vm);
            (0..NODES).all(|_| inner.cache.prune(&cx))
        };
        while prune() {}
        debug_assert_eq!(inner.cached_pages(), 0, "pages left in the cache of a dead object");
        let backing = match inner.source {
            Source::SharedMemory(_) => None,
            Source::File(backing) => Some(backing),
        };
        {
            let cx = Cx::enter(vm);
            vm.objects().remove(&cx, self.inner);
            cx.commit_pages(-(inner.committed_pages() as i64));
            cx.retire(self.inner.cast(), INNER_BYTES);
        }
        if let Some(backing) = backing {
            // SAFETY: who looks at the object without a reference does not use its backing; it is not in the list of
            // objects any more, and is destroyed once.
            unsafe { backing.end(vm) };
        }
    }
}

/// Objects whose last reference was dropped inside the core, part of a [`Cx`]. They are destroyed when that has ended,
/// by the same operation and nobody else: so the backing is dropped by whoever ended its last use, before he returns.
pub(crate) struct Dying<M>(Cell<Option<NonNull<Inner<M>>>>);

impl<M: Machine> Dying<M> {
    /// None yet.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Dying(Cell::new(None))
    }

    /// Whether none is on the list.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Drops a reference to an object; if it was the last, the object is destroyed later. Any lock may be held.
    pub(crate) fn put(&self, object: NonNull<Inner<M>>) {
        // SAFETY: the caller's reference keeps the object; the last one passes to the list.
        let inner = unsafe { object.as_ref() };
        if inner.put() {
            self.add(object);
        }
    }

    fn add(&self, object: NonNull<Inner<M>>) {
        let next = self.0.get().map_or(0, |head| head.as_ptr().expose_provenance() as u64);
        // SAFETY: what is on a list is not freed yet, and each list has one owner.
        unsafe { object.as_ref() }.link.0[0].store(next, Relaxed);
        self.0.set(Some(object));
    }

    fn take(&self) -> Option<NonNull<Inner<M>>> {
        let object = self.0.take()?;
        // SAFETY: as in `add`.
        let next = unsafe { object.as_ref() }.link.0[0].load(Relaxed);
        self.0.set(NonNull::new(with_exposed_provenance_mut(next as usize)));
        Some(object)
    }

    /// Takes over what `other` has.
    pub(crate) fn adopt(&self, other: &Dying<M>) {
        while let Some(object) = other.take() {
            self.add(object);
        }
    }

    /// Destroys what there is; called outside the core, with pre-emption on.
    #[inline(always)]
    pub(crate) fn destroy(&self, vm: &Vm<M>) {
        if self.0.get().is_some() {
            self.destroy_all(vm);
        }
    }

    #[cold]
    #[inline(never)]
    fn destroy_all(&self, vm: &Vm<M>) {
        /// The others, if one of their backings panics.
        struct Others<'a, M: Machine>(&'a Dying<M>, &'a Vm<M>);
        impl<M: Machine> Drop for Others<'_, M> {
            fn drop(&mut self) {
                self.0.destroy(self.1);
            }
        }
        while let Some(object) = self.take() {
            let others = Others(self, vm);
            destroy(vm, object);
            core::mem::forget(others);
        }
    }
}

/// Shared memory or a file, to be mapped: [`Vm::shared_memory`], [`Vm::file`].
///
/// A counted handle. Mappings keep the object too; when the last of both is gone, dirty pages of a file are written
/// back, the memory is freed, and the [`Backing`] dropped, by the operation that unmaps or drops it.
pub struct Object<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    inner: NonNull<Inner<M>>,
}

// SAFETY: a handle is a counted pointer to an `Inner`, which is `Send` and `Sync`.
unsafe impl<M: Machine> Send for Object<'_, M> {}
// SAFETY: as above.
unsafe impl<M: Machine> Sync for Object<'_, M> {}

impl<'vm, M: Machine> Object<'vm, M> {
    /// The identity, which [`Space::maps`](crate::Space::maps) shows too.
    pub fn id(&self) -> u64 {
        self.inner().id()
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.inner().length()
    }

    /// Pages held in memory.
    pub fn cached_pages(&self) -> u64 {
        self.inner().cached_pages()
    }

    /// Writes the dirty pages of a file to its backing; how many. Stores through mappings are included: their
    /// entries are made clean first. Shared memory has nowhere to go: 0.
    ///
    /// Whatever was stored before the call is in the backing when it returns without an error, also what others are just
    /// writing, moving or unmapping: sleeps for them. What they could not write is tried again.
    ///
    /// # Errors
    /// [`Error::Io`] with the first page that could not be written; the others were, and those that were not stay
    /// dirty. [`Error::OutOfMemory`] if there is no frame left to copy pages to while they are written.
    pub fn write_back(&self) -> Result<u64, Error> {
        writeback::write_back(self.vm, self.inner())
    }

    /// Makes the object end at `length`, in bytes, as `ftruncate` does. The pages behind it are dropped from the cache and
    /// wherever they are mapped, private copies of them included: afterwards accesses there get a bus error. If the end
    /// lies within a page, the rest of that page reads as zero; private copies of it stay as they are. Shared memory is
    /// that long then, at most as long as it was; of a file, the backing must have been made shorter before.
    ///
    /// Sleeps for I/O under way on those pages and the last: no lock may be held that the backing's methods take. What was
    /// stored to them is lost.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the object would become longer, or its backing is longer; nothing has changed then.
    pub fn truncate(&self, length: u64) -> Result<(), Error> {
        truncate::truncate(self.vm, self.inner, length)
    }

    /// Makes `length` bytes from `start` on read as zero, as `fallocate` does with `FALLOC_FL_PUNCH_HOLE`, and `madvise`
    /// with `MADV_REMOVE`. The pages of the range leave the cache, and every mapping that shows them; private copies of
    /// them stay. Of a page at an edge, the part in the range is cleared. A file's backing is made to punch
    /// ([`Backing::punch`]) when its pages have gone, and before any is read again. The length stays as it is.
    ///
    /// What was stored there is lost, also if the backing fails: who wants to have it then calls [`Object::write_back`]
    /// first. What is stored there while this runs may be lost or not; a load beside it finds what was there, or zero.
    ///
    /// Sleeps for I/O under way on those pages: no lock may be held that the backing's methods take.
    ///
    /// # Errors
    /// [`Error::ZeroLength`]; [`Error::OutOfRange`] beyond 2^63; [`Error::Unsupported`] if the backing has no holes: then
    /// nothing has changed. [`Error::Io`] with the first page if it fails.
    pub fn punch(&self, start: u64, length: u64) -> Result<(), Error> {
        punch::punch(self.vm, self.inner(), start, length)
    }

    /// Calls `extend`, which makes the backing of a file longer; what it returns. What programs have stored behind the end,
    /// in the page in which that is, is cleared before: the file grows by zeroes, if its backing does. What they store
    /// there while this runs may stay.
    ///
    /// Sleeps while that page is read, and while the object is made shorter or longer: no lock may be held that the
    /// backing's methods take. `extend` may sleep, but must not wait for an operation on the object, nor touch memory of
    /// programs: as a [`Backing`]'s methods.
    pub fn grow<R>(&self, extend: impl FnOnce() -> R) -> R {
        truncate::grow(self.vm, self.inner, extend)
    }

    /// Makes shared memory `length` bytes long, as `ftruncate` does: it grows by zeroes, whatever programs have stored behind
    /// the end in the page in which that was. What they store there while this runs may stay.
    ///
    /// Sleeps while the object is made shorter or longer; allocates nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it would become shorter, or is a file (see [`Object::grow`]); [`Error::OutOfRange`] from 2^63 on;
    /// [`Error::CommitLimit`]. Nothing has changed then.
    pub fn extend(&self, length: u64) -> Result<(), Error> {
        truncate::extend(self.vm, self.inner, length)
    }

    /// The handle that a counted reference becomes: it goes on every way out, also if a backing panics.
    ///
    /// # Safety
    /// The caller has a reference to the object, of this instance, and gives it away.
    pub(crate) unsafe fn of_reference(vm: &'vm Vm<M>, inner: NonNull<Inner<M>>) -> Self {
        Object { vm, inner }
    }

    /// What the handle refers to, and keeps.
    pub(crate) fn inner_pointer(&self) -> NonNull<Inner<M>> {
        self.inner
    }

    /// The instance it belongs to.
    pub(crate) fn vm(&self) -> &'vm Vm<M> {
        self.vm
    }

    /// What the handle refers to.
    pub(crate) fn inner(&self) -> &Inner<M> {
        // SAFETY: the handle has a reference.
        unsafe { self.inner.as_ref() }
    }
}

impl<M: Machine> Clone for Object<'_, M> {
    fn clone(&self) -> Self {
        self.inner().get();
        Object { vm: self.vm, inner: self.inner }
    }
}

impl<M: Machine> Drop for Object<'_, M> {
    fn drop(&mut self) {
        if self.inner().put() {
            destroy(self.vm, self.inner);
        }
    }
}

impl<M: Machine> fmt::Debug for Object<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("id", &self.id()).field("length", &self.length()).finish_non_exhaustive()
    }
}
