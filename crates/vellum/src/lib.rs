//! Vellum: a virtual-memory manager of the class of Linux's `mm/`, to be embedded in kernels, hypervisors and
//! unikernels.
//!
//! The embedder implements one trait, [`Machine`], and gets address spaces ([`Space`]) with map, unmap, protect,
//! remap, advise, fork and faults, objects to map ([`Object`]), physical memory, and TLB shootdown. The crate is
//! `no_std`, has no `static` and uses no global allocator: all memory comes from the frames the machine gives.
//!
//! Begin with [`Vm::new`]; the guide for embedders and `examples/embed.rs` show the rest. The inside is described in
//! `docs/ARCHITECTURE.md`; the lock order in the module `space`.

#![no_std]
// The modules' documentation is for readers of the source too, and links to what is private.
#![allow(rustdoc::private_intra_doc_links)]

#[cfg(test)]
extern crate std;

pub mod arch;
mod cpu;
pub mod cpuset;
mod error;
mod guard;
mod machine;
mod migrate;
mod moved;
pub mod object;
pub mod ops;
mod overcommit;
mod pfn;
pub mod phys;
mod placed;
pub mod reclaim;
mod retire;
mod rmap;
pub mod space;
pub mod stat;
mod structure;
pub mod swap;
pub mod sync;
#[cfg(test)]
mod testing;
mod tlb;
mod vm;

pub use cpuset::CpuSet;
pub use error::{BootError, Error};
pub use guard::Guard;
pub use machine::{Asid, Machine, MemoryRange, RootLoad, Touch};
pub use object::{Backing, IoError, Object};
pub use overcommit::{CommitLimit, Overcommit};
pub use pfn::Pfn;
pub use phys::{Kind, NodeSet, NodeStats, Policy};
pub use reclaim::{Group, Victim};
pub use space::{Audit, AuditError, MapEntry, Rss, SmapsEntry, Space};
pub use stat::{Event, Totals};
pub use structure::{Change, CpuPart, SharedWord, SlotState, Structure};
pub use swap::{AreaId, SwapAudit, SwapAuditError, SwapDevice, SwapUsage};
pub use vm::{MemoryUsage, Vm};
