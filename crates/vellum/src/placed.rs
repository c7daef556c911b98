//! Structures that are made where they stay.
//!
//! What an instance and its CPUs have is large, and the stack of a kernel that boots is small. So it lies in boot
//! memory, which is never given back, and is written there piece by piece: no more of it than one piece is ever on the
//! stack.

use core::ops::Deref;
use core::ptr::NonNull;

/// A value in memory that stays as long as the machine does, and is its owner's. Dropped with this, its memory is not
/// freed.
pub(crate) struct Placed<T: ?Sized>(NonNull<T>);

// SAFETY: it is as the value itself.
unsafe impl<T: ?Sized + Send> Send for Placed<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for Placed<T> {}

impl<T: ?Sized> Placed<T> {
    /// Takes over the value at `place`.
    ///
    /// # Safety
    /// There is a value, in memory that stays as long as the result does, and nobody else has it.
    pub(crate) unsafe fn new(place: NonNull<T>) -> Self {
        Placed(place)
    }

    /// The value, before it is shared.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        // SAFETY: the promise of `new`, and the owner is borrowed exclusively.
        unsafe { self.0.as_mut() }
    }
}

impl<T: ?Sized> Drop for Placed<T> {
    fn drop(&mut self) {
        // SAFETY: the promise of `new`; nobody borrows it any more.
        unsafe { self.0.drop_in_place() };
    }
}

impl<T: ?Sized> Deref for Placed<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the promise of `new`.
        unsafe { self.0.as_ref() }
    }
}

/// Writes a structure to where a pointer says, a field at a time; all must be named, as in an expression. Unsafe as
/// such writes are.
macro_rules! build_at {
    ($place:expr, $type:ident { $($(#[$attribute:meta])* $field:ident: $value:expr),* $(,)? }) => {{
        let place: *mut $type<_> = $place;
        $($(#[$attribute])* { (&raw mut (*place).$field).write($value); })*
        // Never called: no field is forgotten.
        let _ = |whole: &$type<M>| { let $type { $($(#[$attribute])* $field: _),* } = whole; };
    }};
}
pub(crate) use build_at;
