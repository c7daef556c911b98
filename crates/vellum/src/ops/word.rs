//! Atomic accesses to words of a program's memory: what futexes and their like are made of.

use super::fault::{Access, FaultError};
use crate::machine::Machine;
use crate::space::Space;
use crate::sync::{Modify, Word};
use core::fmt;
use core::sync::atomic;

/// A word that a program and its kernel both change: `u32`, as a futex is, or `u64`.
pub trait UserWord: Copy + sealed::Sealed {
    /// The processor's atomic of that size.
    type Atomic: Word<Value = Self>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

impl UserWord for u32 {
    type Atomic = atomic::AtomicU32;
}

impl UserWord for u64 {
    type Atomic = atomic::AtomicU64;
}

/// Why a word was not accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordError {
    /// The address is not a multiple of the word's size (`EINVAL`, for a system call).
    Unaligned {
        /// The address.
        address: u64,
    },
    /// The program itself could not access it (`EFAULT`).
    Fault(FaultError),
}

impl fmt::Display for WordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WordError::Unaligned { address } => write!(f, "the word at {address:#x} is not aligned to its size"),
            WordError::Fault(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for WordError {}

impl From<FaultError> for WordError {
    fn from(error: FaultError) -> Self {
        WordError::Fault(error)
    }
}

impl<M: Machine> Space<'_, M> {
    /// Loads the word at `address` of the program's memory, atomically and sequentially consistent; the page is faulted
    /// in and marked as [`Space::copy_in`] does. Context: as there.
    ///
    /// # Errors
    /// [`WordError`].
    pub fn load_word<W: UserWord>(&self, address: u64) -> Result<W, WordError> {
        let loaded = self.reach_word::<W>(address, Access::Read, None)?;
        Ok(match loaded {
            Ok(value) | Err(value) => value,
        })
    }

    /// Changes the word at `address` of the program's memory by one atomic, sequentially consistent read-modify-write;
    /// the previous value, or, of a compare-exchange that did not store, an error with what was there. The program must
    /// be able to store there, even then; the page is faulted in and marked as [`Space::copy_out`] does. Context: as
    /// there.
    ///
    /// # Errors
    /// [`WordError`]; nothing was stored.
    pub fn update_word<W: UserWord>(&self, address: u64, change: Modify<W>) -> Result<Result<W, W>, WordError> {
        self.reach_word(address, Access::Write, Some(change))
    }

    fn reach_word<W: UserWord>(
        &self,
        address: u64,
        access: Access,
        change: Option<Modify<W>>,
    ) -> Result<Result<W, W>, WordError> {
        if !address.is_multiple_of(size_of::<W>() as u64) {
            return Err(WordError::Unaligned { address });
        }
        let touch = |byte: *mut u8| {
            // SAFETY: the page stays the program's for now; the word is aligned, so it lies within the page; what the
            // core and programs do there is atomic.
            let word = unsafe { &*byte.cast::<W::Atomic>() };
            self.vm().machine().user_word(word, change)
        };
        Ok(self.reach(address, access, touch)?)
    }
}
