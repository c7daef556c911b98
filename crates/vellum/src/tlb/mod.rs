//! Keeping translation caches in step with the tables.
//!
//! * Each space has a *generation*, incremented after entries changed in a way that cached translations must not
//!   survive. Each CPU notes, per address-space identifier, the generation it has flushed up to.
//! * A CPU is a target while it is in the space's CPU set. It enters the set before it reads the generation and loads
//!   the root; a flusher increments the generation before it reads the set: one of the two sees the other (J1, J2).
//! * A lazy CPU keeps a root loaded without running user code. It is skipped unless page tables are being freed, and
//!   compares generations when it leaves lazy mode (J4, B13).
//! * Requests travel through a mailbox per CPU. Whoever waits for others serves its own mailbox meanwhile (J13).
//!
//! Where the architecture flushes by broadcast none of this is needed but the mailbox, for the end of a space; see
//! [`broadcast`] and [`identifiers`]. Which of the two is used is a constant of the architecture.

mod broadcast;
mod gather;
mod identifiers;
mod mailbox;
mod shootdown;
mod switch;
#[cfg(test)]
mod tests;

pub(crate) use gather::{Gather, GatherBuffer};
pub(crate) use identifiers::Identifiers;
pub(crate) use mailbox::Mailbox;
pub(crate) use shootdown::{BATCH_SPACES, Flush, Owed};
pub(crate) use switch::Root;

use crate::arch::Arch;
use crate::cpuset::SharedCpuSet;
use crate::machine::{Asid, Machine};
use crate::structure::{SharedWord, holds};
use crate::sync::{AtomicU32, AtomicU64};
use identifiers::CpuIdentifiers;

/// The most address-space identifiers a CPU uses in turn.
const SLOTS_MAX: usize = 8;

/// Flushing more pages than this invalidates the whole space instead: refilling is cheaper than so many steps.
/// (Linux arrived at the same figure, `tlb_single_page_flush_ceiling`.)
pub(crate) const RANGE_MAX: u64 = 33;

/// A space's part: who may hold its translations, and how often they changed. Lines of their own.
#[repr(C, align(64))]
pub(crate) struct SpaceTlb<M> {
    /// Incremented after entries changed.
    pub(crate) generation: AtomicU64<M>,
    /// CPUs that have the root loaded, lazily or not.
    pub(crate) cpus: SharedCpuSet<M>,
    /// Where identifiers are global, the space's, 0 if it was never loaded. Written under the lock of the pool.
    identifier: AtomicU64<M>,
}

impl<M: Machine> SpaceTlb<M> {
    pub(crate) const fn new() -> Self {
        SpaceTlb { generation: AtomicU64::new(1), cpus: SharedCpuSet::new(), identifier: AtomicU64::new(0) }
    }
}

/// One identifier of a CPU: whose translations it tags, flushed up to which generation.
struct AsidSlot<M> {
    space: AtomicU64<M>,
    generation: AtomicU64<M>,
}

/// A CPU's part. Written by its CPU alone, but for the mailbox.
#[repr(C, align(64))]
pub(crate) struct CpuTlb<M: Machine> {
    /// Id of the space whose root is loaded, 0 for none.
    loaded: AtomicU64<M>,
    /// Address of its [`SpaceTlb`], for the handler.
    loaded_tlb: AtomicU64<M>,
    /// Index of the identifier in use: the hardware's name less one.
    current: AtomicU32<M>,
    /// Not zero while no user code runs although a root is loaded.
    lazy: AtomicU32<M>,
    /// Next identifier to take over.
    victim: AtomicU32<M>,
    /// Not zero while this CPU changes the fields above: an interrupt then leaves its work to the end of that.
    busy: AtomicU32<M>,
    slots: [AsidSlot<M>; SLOTS_MAX],
    /// Where identifiers are global; other CPUs write there too.
    identifiers: CpuIdentifiers<M>,
    pub(crate) mailbox: Mailbox<M>,
}

impl<M: Machine> CpuTlb<M> {
    pub(crate) const fn new() -> Self {
        CpuTlb {
            loaded: AtomicU64::new(0),
            loaded_tlb: AtomicU64::new(0),
            current: AtomicU32::new(0),
            lazy: AtomicU32::new(0),
            victim: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            slots: [const { AsidSlot { space: AtomicU64::new(0), generation: AtomicU64::new(0) } }; SLOTS_MAX],
            identifiers: CpuIdentifiers::new(),
            mailbox: Mailbox::new(),
        }
    }
}

impl<M: Machine> CpuTlb<M> {
    /// Which word of this, what `cpu` has, lies at `address`, if operations decide on it.
    pub(crate) fn word_at(&self, cpu: usize, address: usize) -> Option<SharedWord> {
        let is_lazy = holds(&self.lazy, address);
        self.mailbox.word_at(cpu, address).or(is_lazy.then_some(SharedWord::Lazy(cpu)))
    }
}

/// The hardware's name of identifier slot `slot`; 0 is left to the embedder's kernel.
fn asid(slot: usize) -> Asid {
    Asid(slot as u16 + 1)
}

/// Number of identifiers in use on this architecture.
fn slot_count<A: Arch>() -> usize {
    A::ASIDS.clamp(1, SLOTS_MAX)
}
