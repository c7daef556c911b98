//! What an address space consists of. What is done with its parts stands with these.

use super::lineage::{Lineage, OwnerName};
use super::lines::Lines;
use super::members::Members;
use super::slot::Slot;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Pfn;
use crate::sync::{AtomicU32, AtomicU64, SleepLock};
use crate::tlb::SpaceTlb;
use crate::vm::Vm;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

/// The number of the policy by which a space lets all memory have huge pages: `HugePages::Always`.
pub(crate) const ALL_HUGE_PAGES: u32 = 1;
/// Of the instance: no shared memory has any.
pub(crate) const NO_HUGE_PAGES: u32 = 2;

/// An address space. Fields: `H` written with the handle count, `R` under the registry's lock, `C` under a claim of
/// the range they describe, unmarked ones never change.
#[repr(C)]
pub(crate) struct Inner<M: Machine> {
    /// Written when the space is retired; nobody reads it before.
    _retired: [u64; 2],
    pub(super) tlb: SpaceTlb<M>,
    pub(super) lines: Lines<M>,
    pub(super) id: u64,
    pub(super) root: Pfn,
    /// The slots of the root table, where each way down begins: so nobody asks where its frame lies.
    pub(super) top: NonNull<Slot<M>>,
    /// The group it is a member of, with a reference.
    pub(super) group: Option<NonNull<Members<M>>>,
    /// Number of the last fork whose flush is complete; waited on by faults in copied leaves.
    pub(crate) fork_done: AtomicU32<M>,
    /// Number of the last fork begun; written under the root claim.
    pub(crate) fork_begun: AtomicU32<M>,
    /// Furthest a grows-down mapping may extend, in bytes.
    pub(crate) stack_limit: AtomicU64<M>,
    /// Where grows-down mappings are or have been: lowest address, and end. Between operations within claims.
    pub(super) stack_low: AtomicU64<M>,
    pub(super) stack_high: AtomicU64<M>,
    /// Which memory may have huge pages: the number of a policy.
    pub(crate) huge_pages: AtomicU32<M>,
    /// How many bytes may be mapped.
    pub(crate) mapped_limit: AtomicU64<M>,
    /// Held by who maps more where there is such a limit.
    pub(crate) mapping: SleepLock<M>,
    /// H: handles.
    pub(super) handles: AtomicU64<M>,
    /// Its place among its ancestors and descendants.
    pub(super) lineage: NonNull<Lineage<M>>,
    /// What its pages are named by: its place, or one above that leads to the same spaces.
    pub(super) name: OwnerName<M>,
    /// Reverse-mapping walks under way in the space, and whether it ends; see [`Inner::pin`].
    pub(super) walks: AtomicU32<M>,
    /// Once it ends: which end of all it is; written before walks are kept out.
    pub(super) end_number: AtomicU32<M>,
    /// How often entries began to move within the space, and how often that was done: for walks (F4).
    pub(crate) moves_begun: AtomicU32<M>,
    pub(crate) moves_done: AtomicU32<M>,
    /// Walks that hold further moves back.
    pub(super) moves_held_back: AtomicU32<M>,
    /// The first of the classes that show objects or moved memory; under the lock of their part of the registry,
    /// read without.
    pub(crate) classes: AtomicU32<M>,
    /// C: where the heap begins, and where it ends.
    pub(crate) brk_base: AtomicU64<M>,
    pub(crate) brk_end: AtomicU64<M>,
    /// R: neighbours in the registry.
    pub(super) next: AtomicU64<M>,
    pub(super) previous: AtomicU64<M>,
}

impl<M: Machine> Inner<M> {
    pub(super) fn new(
        vm: &Vm<M>,
        (root, top): (Pfn, NonNull<Slot<M>>),
        (lineage, name): (NonNull<Lineage<M>>, OwnerName<M>),
        group: Option<NonNull<Members<M>>>,
    ) -> Self {
        Inner {
            _retired: [0; 2],
            tlb: SpaceTlb::new(),
            lines: Lines::new(vm),
            id: vm.next_id(),
            root,
            top,
            fork_done: AtomicU32::new(0),
            fork_begun: AtomicU32::new(0),
            stack_limit: AtomicU64::new(8 << 20),
            stack_low: AtomicU64::new(u64::MAX),
            stack_high: AtomicU64::new(0),
            huge_pages: AtomicU32::new(ALL_HUGE_PAGES),
            mapped_limit: AtomicU64::new(u64::MAX),
            mapping: SleepLock::new(),
            handles: AtomicU64::new(1),
            lineage,
            name,
            group,
            walks: AtomicU32::new(0),
            end_number: AtomicU32::new(0),
            moves_begun: AtomicU32::new(0),
            moves_done: AtomicU32::new(0),
            moves_held_back: AtomicU32::new(0),
            classes: AtomicU32::new(0),
            brk_base: AtomicU64::new(0),
            brk_end: AtomicU64::new(0),
            next: AtomicU64::new(0),
            previous: AtomicU64::new(0),
        }
    }

    pub(super) fn from_address(address: u64) -> Option<NonNull<Self>> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
    }

    /// Its place among its ancestors and descendants.
    #[inline(always)]
    pub(crate) fn lineage(&self) -> &Lineage<M> {
        // SAFETY: it is freed after the space, see `Lineage::end`.
        unsafe { self.lineage.as_ref() }
    }

    /// What pages that the space creates name as their owner.
    #[inline(always)]
    pub(crate) fn owner(&self) -> u64 {
        self.name.address()
    }

    /// One more handle, unless the last is gone.
    pub(super) fn try_get(&self) -> bool {
        let mut seen = self.handles.load(Relaxed);
        while seen != 0 {
            match self.handles.compare_exchange(seen, seen + 1, AcqRel) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    #[inline(always)]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    #[inline(always)]
    pub(crate) fn root(&self) -> Pfn {
        self.root
    }

    #[inline(always)]
    pub(crate) fn tlb(&self) -> &SpaceTlb<M> {
        &self.tlb
    }

    /// The CPU whose line of the space contains `address`.
    pub(crate) fn line_at(&self, vm: &Vm<M>, address: usize) -> Option<usize> {
        self.lines.cpu_at(vm, address)
    }

    #[cfg(test)]
    pub(super) fn lines(&self) -> &Lines<M> {
        &self.lines
    }

    /// The group it is a member of.
    #[inline(always)]
    pub(crate) fn group(&self) -> Option<NonNull<Members<M>>> {
        self.group
    }

    /// Where this CPU looks for free addresses first.
    #[inline(always)]
    pub(crate) fn cursor(&self, cx: &Cx<'_, M>) -> &AtomicU64<M> {
        self.lines.cursor(cx)
    }

    /// As [`Inner::cursor`], and where this CPU has seen that there is no room.
    #[inline(always)]
    pub(super) fn cursor_and_stretch(&self, cx: &Cx<'_, M>) -> (&AtomicU64<M>, &[AtomicU64<M>; 2]) {
        self.lines.cursor_and_stretch(cx)
    }

    /// Where this CPU emptied a table last.
    pub(super) fn emptied(&self, cx: &Cx<'_, M>) -> &AtomicU64<M> {
        self.lines.emptied(cx)
    }

    /// Whether fork number `stamp` still has its flush before it.
    #[inline(always)]
    pub(crate) fn fork_pending(&self, stamp: u32) -> bool {
        // By difference: after very many forks the numbers begin anew.
        M::guard(Guard::ForkGate) && stamp != 0 && stamp.wrapping_sub(self.fork_done.load(SeqCst)) as i32 > 0
    }
}
