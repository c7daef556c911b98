//! What an access was, how its fault was resolved, and why one could not be.

use crate::arch::{PageBits, Prot};

/// What an instruction wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

impl Access {
    #[inline(always)]
    pub(super) fn right(self) -> Prot {
        match self {
            Access::Read => Prot::READ,
            Access::Write => Prot::WRITE,
            Access::Execute => Prot::EXECUTE,
        }
    }

    /// Whether an entry with `bits` allows the access.
    #[inline(always)]
    pub(crate) fn is_allowed(self, bits: PageBits) -> bool {
        bits.prot().has(self.right())
    }
}

/// How a fault was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A fresh page of anonymous memory.
    Anonymous,
    /// The zero page, for a load of untouched anonymous memory.
    Zero,
    /// A private copy of a page shared with others or with a file.
    Copied,
    /// The page that was there, now writable: it had no other user.
    Reused,
    /// A page of a file or of shared memory.
    File,
    /// A page that was in swap.
    Swapped,
    /// Nothing was to be done: another CPU did it, or the CPU's translation was out of date.
    Spurious,
}

/// Why a fault could not be resolved: what the program gets for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// A segmentation fault.
    Segv {
        /// The address accessed.
        address: u64,
        /// Something is mapped there and does not allow the access (`SEGV_ACCERR`); else nothing is, or a guard
        /// (`SEGV_MAPERR`).
        denied: bool,
    },
    /// A bus error: the object has no such page, or it cannot be read.
    Bus {
        /// The address accessed.
        address: u64,
        /// Page index in the object.
        index: u64,
    },
    /// No memory is left.
    OutOfMemory {
        /// The address accessed.
        address: u64,
    },
}

impl core::fmt::Display for FaultError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            FaultError::Segv { address, denied: false } => write!(f, "segmentation fault: nothing at {address:#x}"),
            FaultError::Segv { address, denied: true } => write!(f, "segmentation fault: no right at {address:#x}"),
            FaultError::Bus { address, index } => write!(f, "bus error at {address:#x}: no page {index} in the object"),
            FaultError::OutOfMemory { address } => write!(f, "out of memory for a fault at {address:#x}"),
        }
    }
}

impl core::error::Error for FaultError {}
