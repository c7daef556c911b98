//! Linux's memory system calls over Vellum's address spaces, for kernels whose programs expect Linux.
//!
//! One call a file. Each takes the arguments as a program puts them into registers, makes Linux's checks in Linux's
//! order, lets the [`Space`](vellum::Space) do the work, and fails with the [`Errno`] that Linux fails with. Where
//! Linux does a part of the work and then fails, so does the call here, by the core's operations that do
//! (`protect_partly`, `advise_partly`, `populate_partly`); in every other error nothing is changed.
//!
//! What the caller does: descriptors (a [`File`] is what one means to `mmap`), copying from and to the program, and
//! serialising calls of [`brk()`] for one space. It holds no lock that the core's operations forbid; all calls may
//! sleep and allocate as the operations they use.
//!
//! The behaviour is that of Linux 6.18 for a process without privileges: it may not map below
//! [`USER_START`](vellum::arch::Arch::USER_START), and not lock memory. `docs/LINUX.md` lists every error, and where
//! the calls differ.

#![no_std]

mod brk;
mod errno;
mod file;
mod madvise;
mod mincore;
pub mod mmap;
mod mprotect;
mod mremap;
mod msync;
mod munmap;
mod prctl;
mod range;

pub use brk::brk;
pub use errno::Errno;
pub use file::File;
pub use madvise::*;
pub use mincore::mincore;
pub use mmap::mmap;
pub use mprotect::*;
pub use mremap::*;
pub use msync::*;
pub use munmap::munmap;
pub use prctl::*;
