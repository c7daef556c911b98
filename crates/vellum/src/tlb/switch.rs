//! Loading a space on a CPU, leaving it, and lazy mode.

use super::{SpaceTlb, asid, slot_count};
use crate::arch::is_broadcast;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::{Asid, Machine, RootLoad};
use crate::phys::Pfn;
use crate::stat::Event;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// A space, as far as a CPU that loads it must know it.
pub(crate) struct Root<'a, M> {
    /// The space's identity.
    pub(crate) id: u64,
    /// The root table.
    pub(crate) table: Pfn,
    pub(crate) tlb: &'a SpaceTlb<M>,
}

impl<M> Clone for Root<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Root<'_, M> {}

impl<M: Machine> Cx<'_, M> {
    /// Keeps the root loaded, while no user code runs, until the next switch.
    pub(crate) fn become_lazy(&self) {
        self.cpu().tlb.lazy.store(1, SeqCst);
    }

    /// Leaves the loaded space, if there is one. The handler is kept out.
    pub(super) fn unload(&self) {
        let tlb = &self.cpu().tlb;
        if tlb.loaded.load(Relaxed) == 0 {
            return;
        }
        self.vm().machine().unload_root();
        // SAFETY: the loaded space is alive, see `flush_whole`.
        let space = unsafe { &*tlb.loaded_tlb_pointer() };
        space.cpus.remove(self.number());
        tlb.loaded.store(0, Relaxed);
        tlb.lazy.store(0, Relaxed);
    }

    /// Loads a space, which lives until this CPU has left it, or leaves the one that is loaded.
    #[inline(always)]
    pub(crate) fn switch_root(&self, space: Option<Root<'_, M>>) {
        self.while_busy(|| match space {
            Some(space) => self.load(space),
            None => self.unload(),
        });
    }

    fn load(&self, space: Root<'_, M>) {
        if is_broadcast::<M::Arch>() {
            return self.load_global(space);
        }
        let tlb = &self.cpu().tlb;
        if tlb.loaded.load(Relaxed) == space.id {
            // Leaving lazy mode: flushes may have passed this CPU by (J4). SeqCst: the flag is cleared before the
            // generation is read, as a flusher increments it before it reads the flag.
            tlb.lazy.swap(0, SeqCst);
            let slot = tlb.current.load(Relaxed) as usize;
            let is_behind = || tlb.slots[slot].generation.load(Relaxed) != space.tlb.generation.load(SeqCst);
            if M::guard(Guard::LazyCompares) && is_behind() {
                self.flush_whole(tlb, slot);
            }
            return;
        }
        // Before the CPU is a target: a flusher of the new space must not take the old one's laziness for it.
        tlb.lazy.swap(0, SeqCst);
        let now = || space.tlb.generation.load(SeqCst);
        let too_early = if M::guard(Guard::TargetFirst) { None } else { Some(now()) };
        space.tlb.cpus.insert(self.number());
        let slot = self.choose_slot(space.id);
        let entry = &tlb.slots[slot];
        let generation = too_early.unwrap_or_else(now);
        // An identity is never given out twice, so an equal one is the same space (J5).
        let is_same = !M::guard(Guard::IdentityCompared) || entry.space.load(Relaxed) == space.id;
        let keep_entries = is_same && entry.generation.load(Relaxed) == generation;
        self.vm().machine().load_root(RootLoad { root: space.table, asid: asid(slot), keep_entries });
        if !keep_entries {
            self.count(Event::LocalFlushAll, 1);
        }
        entry.space.store(space.id, Relaxed);
        entry.generation.store(generation, Relaxed);
        self.note_loaded(space, asid(slot));
    }

    /// Notes that the root of `space` is loaded now, under identifier `asid`, in place of what was before.
    #[inline(always)]
    pub(super) fn note_loaded(&self, space: Root<'_, M>, asid: Asid) {
        let tlb = &self.cpu().tlb;
        let previous = tlb.loaded_space();
        tlb.current.store(asid.0 as u32 - 1, Relaxed);
        tlb.loaded_tlb.store((&raw const *space.tlb).expose_provenance() as u64, Relaxed);
        tlb.loaded.store(space.id, Relaxed);
        if let Some(previous) = previous {
            // Only now: until its root was replaced, the end of that space had to wait for this CPU.
            // SAFETY: as in `unload`; the space cannot end while this CPU is in its set.
            unsafe { &*previous }.cpus.remove(self.number());
        }
    }

    /// The identifier for space `id`: the one it had, else the next in turn.
    fn choose_slot(&self, id: u64) -> usize {
        let tlb = &self.cpu().tlb;
        let count = slot_count::<M::Arch>();
        if let Some(slot) = tlb.slots[..count].iter().position(|slot| slot.space.load(Relaxed) == id) {
            return slot;
        }
        let victim = tlb.victim.load(Relaxed) as usize % count;
        tlb.victim.store(victim as u32 + 1, Relaxed);
        victim
    }
}
