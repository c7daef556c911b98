//! The handle that embedders have of an object.

use super::{Inner, destroy, punch, truncate, writeback};
use crate::error::Error;
use crate::machine::Machine;
use crate::vm::Vm;
use core::fmt;
use core::ptr::NonNull;

/// Shared memory or a file, to be mapped: [`Vm::shared_memory`], [`Vm::file`].
///
/// A counted handle. Mappings keep the object too; when the last of both is gone, dirty pages of a file are written
/// back, the memory is freed, and the [`Backing`](super::Backing) dropped, by the operation that unmaps or drops it.
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
    /// Whatever was stored before the call is in the backing when it returns without an error, also what others are
    /// just writing, moving or unmapping: sleeps for them. What they could not write is tried again.
    ///
    /// # Errors
    /// [`Error::Io`] with the first page that could not be written; the others were, and those that were not stay
    /// dirty. [`Error::OutOfMemory`] if there is no frame left to copy pages to while they are written.
    pub fn write_back(&self) -> Result<u64, Error> {
        writeback::write_back(self.vm, self.inner())
    }

    /// Makes the object end at `length`, in bytes, as `ftruncate` does. The pages behind it are dropped from the cache
    /// and wherever they are mapped, private copies of them included: afterwards accesses there get a bus error. If the
    /// end lies within a page, the rest of that page reads as zero; private copies of it stay as they are. Shared
    /// memory is that long then, at most as long as it was; of a file, the backing must have been made shorter before.
    ///
    /// Sleeps for I/O under way on those pages and the last: no lock may be held that the backing's methods take. What
    /// was stored to them is lost.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the object would become longer, or its backing is longer; nothing has changed then.
    pub fn truncate(&self, length: u64) -> Result<(), Error> {
        truncate::truncate(self.vm, self.inner, length)
    }

    /// Makes `length` bytes from `start` on read as zero, as `fallocate` does with `FALLOC_FL_PUNCH_HOLE`, and
    /// `madvise` with `MADV_REMOVE`. The pages of the range leave the cache, and every mapping that shows them; private
    /// copies of them stay. Of a page at an edge, the part in the range is cleared. A file's backing is made to punch
    /// ([`Backing::punch`](super::Backing::punch)) when its pages have gone, and before any is read again. The length
    /// stays as it is.
    ///
    /// What was stored there is lost, also if the backing fails: who wants to have it then calls [`Object::write_back`]
    /// first. What is stored there while this runs may be lost or not; a load beside it finds what was there, or zero.
    ///
    /// Sleeps for I/O under way on those pages: no lock may be held that the backing's methods take.
    ///
    /// # Errors
    /// [`Error::ZeroLength`]; [`Error::OutOfRange`] beyond 2^63; [`Error::Unsupported`] if the backing has no holes:
    /// then nothing has changed. [`Error::Io`] with the first page if it fails.
    pub fn punch(&self, start: u64, length: u64) -> Result<(), Error> {
        punch::punch(self.vm, self.inner(), start, length)
    }

    /// Calls `extend`, which makes the backing of a file longer; what it returns. What programs have stored behind the
    /// end, in the page in which that is, is cleared before: the file grows by zeroes, if its backing does. What they
    /// store there while this runs may stay.
    ///
    /// Sleeps while that page is read, and while the object is made shorter or longer: no lock may be held that the
    /// backing's methods take. `extend` may sleep, but must not wait for an operation on the object, nor touch memory
    /// of programs: as a [`Backing`](super::Backing)'s methods.
    pub fn grow<R>(&self, extend: impl FnOnce() -> R) -> R {
        truncate::grow(self.vm, self.inner, extend)
    }

    /// Makes shared memory `length` bytes long, as `ftruncate` does: it grows by zeroes, whatever programs have stored
    /// behind the end in the page in which that was. What they store there while this runs may stay.
    ///
    /// Sleeps while the object is made shorter or longer; allocates nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it would become shorter, or is a file (see [`Object::grow`]); [`Error::OutOfRange`] from
    /// 2^63 on; [`Error::CommitLimit`]. Nothing has changed then.
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
