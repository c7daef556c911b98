//! Values of the embedder's that were moved into the core's memory: the devices of swap areas, the backings of files.
//!
//! Each is a slab object of its own. So a kernel needs no allocator to hand them over, and they may go before what
//! points to them, whose memory is freed by grace periods.

use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::phys::SLAB_MAX;
use crate::vm::Vm;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// The greatest alignment of a value: that of all slab objects.
const ALIGN_MAX: usize = 64;

/// Room for a value.
#[must_use = "room that is not filled is lost"]
pub(crate) struct Room<T>(NonNull<u8>, PhantomData<fn(T)>);

impl<T> Room<T> {
    /// Allocates. Before the value is given away, so that whoever tries again with more memory has it still.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Invalid`], naming `what`, if values of this type are too large or aligned to
    /// too much.
    pub(crate) fn new<M: Machine>(vm: &Vm<M>, what: &'static str) -> Result<Self, Error> {
        if size_of::<T>() > SLAB_MAX || align_of::<T>() > ALIGN_MAX {
            return Err(Error::Invalid { what });
        }
        Ok(Room(Cx::enter(vm).slab_alloc(size_of::<T>())?, PhantomData))
    }

    /// Moves the value there; `widen` makes a pointer to it one to what it is used as.
    pub(crate) fn fill<U: ?Sized>(self, value: T, widen: impl FnOnce(NonNull<T>) -> NonNull<U>) -> Moved<U> {
        let place = self.0.cast::<T>();
        // SAFETY: the slab object is large enough, aligned, and nobody else's.
        unsafe { place.write(value) };
        let value = widen(place);
        debug_assert_eq!(value.cast::<u8>(), self.0, "a pointer to the value");
        Moved(value)
    }
}

/// A value in the core's memory, until [`Moved::end`]. Dropping this does not drop it.
pub(crate) struct Moved<T: ?Sized>(NonNull<T>);

// SAFETY: it is used as a shared reference, and dropped wherever it ends.
unsafe impl<T: ?Sized + Send + Sync> Send for Moved<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for Moved<T> {}

impl<T: ?Sized> Clone for Moved<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Moved<T> {}

impl<T: ?Sized> Moved<T> {
    /// The value.
    ///
    /// # Safety
    /// It has not come to its end, nor does so while it is used.
    pub(crate) unsafe fn get<'a>(self) -> &'a T {
        // SAFETY: it was moved there, and is still there by the caller's promise; nobody has it exclusively.
        unsafe { self.0.as_ref() }
    }

    /// Drops the value and frees its memory, that also if the value's drop panics. It may sleep: without a [`Cx`].
    ///
    /// # Safety
    /// Nobody uses the value any more, and nobody else ends it.
    pub(crate) unsafe fn end<M: Machine>(self, vm: &Vm<M>) {
        /// What the value took.
        struct Memory<'vm, M: Machine>(&'vm Vm<M>, NonNull<u8>, usize);
        impl<M: Machine> Drop for Memory<'_, M> {
            fn drop(&mut self) {
                Cx::enter(self.0).slab_free(self.1, self.2);
            }
        }
        // SAFETY: the value is there, by the caller's promise.
        let bytes = unsafe { size_of_val(self.0.as_ref()) };
        let _memory = Memory(vm, self.0.cast(), bytes);
        // SAFETY: by the caller's promise.
        unsafe { self.drop_with_instance() };
    }

    /// Drops the value, as part of the end of the instance whose memory it is in.
    ///
    /// # Safety
    /// As for [`Moved::end`].
    pub(crate) unsafe fn drop_with_instance(self) {
        // SAFETY: it was moved there, and is dropped once, by the caller's promise.
        unsafe { self.0.drop_in_place() };
    }
}
