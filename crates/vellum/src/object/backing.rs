//! Where the pages of a file come from and go to: the embedder's part.

use crate::error::IoError;
use core::ops::Deref;

/// A file, or whatever else pages can be read from and written to; what the embedder implements.
///
/// # The end
/// The backing is moved into the core's memory by [`Vm::file`](crate::Vm::file), and dropped there, once, when the
/// object is at its end: when the last of its handles and mappings is gone, after the last write of a page. That drop
/// is the notice of the end. It belongs to the operation that ends the last use, and is over when that returns:
/// dropping an [`Object`](super::Object) or a [`Space`](crate::Space), unmapping or mapping something else in its
/// place, failing to map it; or, if at that moment others work on a page of the object, the last of these: a fault,
/// migration, or reclaim (so any operation that allocates). It happens on that operation's CPU, with pre-emption on and
/// no spinlock held, may sleep, and must not do what the methods must not do. What a handle that is forgotten keeps is
/// dropped with the [`Vm`](crate::Vm), without what was not written.
///
/// # Calls
/// The methods may sleep, and are called with pre-emption on, holding nothing but sleeping locks of objects and their
/// pages. Any operation which allocates may call them, to free memory, and has pages of several objects in hand then:
/// so they must not wait for an operation on an object, this or another, nor touch memory of programs, whose faults
/// may: a fault waits for a truncation of the object, which waits for pages that are being written.
pub trait Backing: Send + Sync {
    /// Length in bytes. It grows within [`Object::grow`](super::Object::grow); elsewhere too, if what programs have
    /// stored behind the end may become the file's then. Pages beyond an end that has moved down are no longer written.
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

    /// Whether [`Backing::punch`] does anything. If not, which is the default, [`Object::punch`](super::Object::punch)
    /// is refused.
    fn can_punch(&self) -> bool {
        false
    }

    /// Makes `length` bytes from `start` on read as zero, as `fallocate` does with `FALLOC_FL_PUNCH_HOLE`; part pages
    /// at the edges too. The length stays as it is, also if the range goes beyond it.
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
