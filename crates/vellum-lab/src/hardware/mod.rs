//! The simulated processor: physical memory, and for each CPU an MMU with a TLB and paging-structure caches.
//!
//! **Modelled.** Translations come only from the bytes of the tables, read through [`Arch`](vellum::arch::Arch), so any
//! number of levels and entries works. What a CPU caches is *really stale* until the core invalidates it: a TLB hit
//! never looks at memory, and a walk through a cached upper entry never looks at the levels above it. Accessed and
//! dirty bits are set, or their absence faults, as [`Semantics`](vellum::arch::Semantics) says; the setting is one
//! atomic compare-exchange of the entry. A fault drops what is cached for its address (Intel SDM volume 3A, section
//! 4.10.4.1), so a retry sees the tables. Speculative fills are made on demand with [`Mmu::speculate`].
//!
//! Where one translation may stand for several entries (AArch64's Contiguous bit), the TLB is filled for all of their
//! pages from the entry that a walk found; accessed and dirty bits are set in that entry alone, and count for all.
//! Where software fills the TLB, its walk is made here, at each miss: it sets no bits, and caches the one translation.
//!
//! Where the architecture has memory tags, each granule of memory has one, and an access through a tagged translation
//! traps unless it bears the same ([`HostMemory::check_tags`]).
//!
//! **Checked at each use** (see [`Invariant`]): the frame reached is not free, each table read is a table, and, where
//! operations are atomic between accesses, a cached translation says nothing that the tables do not say. Where entries
//! must be broken before they are made anew, no two CPUs cache different frames or tables for one address of a space
//! that both have loaded ([`Mmu::check_conflict`], which the machines call after each translation).
//!
//! **Not modelled.** Global entries, memory types, protection keys, accessed bits
//! of upper entries, and the processor's memory order: user bytes are read and written by host atomics.

mod block;
mod check;
mod config;
mod counters;
mod memory;
mod mmu;
mod peek;
mod tags;
mod tlb;
mod violation;
mod walk;

pub use config::MachineConfig;
pub use counters::{CpuCounters, MmuCounters};
pub use memory::{HostMemory, NoHostMemory};
pub use mmu::{Bus, Checks, Fault, FaultReason, Mmu, Translated};
pub use peek::Peek;
pub(crate) use violation::is_user_frame;
pub use violation::{FrameKinds, Invariant, Violation, ViolationLog};
pub use walk::walk_tables;
