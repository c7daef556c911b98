//! Flushing and switching on architectures whose flush is a broadcast.
//!
//! No generations, no targets: a broadcast of the space's identifier reaches every TLB, and is waited for before
//! anything is freed. Interrupts are sent only to make CPUs leave a space that ends.
//!
//! *Flush against switch* (J1). The flusher changes entries, then reads the identifier; a switch makes the identifier
//! the space's, then walks the tables; a full barrier stands between on both sides. So if the flusher reads an older
//! identifier than a CPU runs with, that CPU's walks find the entries changed. What is tagged with the older one
//! belongs to nobody, or to a space whose CPUs flushed before they ran with it, which loses some valid translations.

use super::identifiers::Identifier;
use super::{Flush, Owed, Root, SpaceTlb};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::{Machine, RootLoad};
use crate::stat::Event;
use crate::sync::fence;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

impl<M: Machine> Cx<'_, M> {
    /// [`Cx::flush`] by broadcast. Lazy CPUs are no exception, nor is this one.
    pub(super) fn broadcast(&self, space: &SpaceTlb<M>, what: Flush) {
        fence::<M>(SeqCst);
        // A space that was never loaded has none, and no translations.
        let Some(asid) = Identifier(space.identifier.load(SeqCst)).asid() else { return };
        let machine = self.vm().machine();
        machine.broadcast_invalidate(asid, what.start, what.pages);
        // On the CPU that began it: the wait of another does not cover it (A9).
        machine.broadcast_wait();
        self.count(Event::Broadcast, 1);
    }

    /// [`Cx::flush_all`] by broadcast: all begun, then one wait.
    pub(super) fn broadcast_all<'o>(&self, all: impl Iterator<Item = Owed<'o, M>>)
    where
        M: 'o,
    {
        fence::<M>(SeqCst);
        let machine = self.vm().machine();
        let mut begun = 0;
        for Owed { tlb, what, .. } in all {
            let identifier = Identifier(tlb.identifier.load(SeqCst));
            if let Some(asid) = identifier.asid() {
                machine.broadcast_invalidate(asid, what.start, what.pages);
                begun += 1;
            }
        }
        if begun > 0 && M::guard(Guard::BatchAwaitsBroadcast) {
            machine.broadcast_wait();
        }
        self.count(Event::Broadcast, begun);
    }

    /// Loads `space` where identifiers are global. The handler is kept out.
    pub(super) fn load_global(&self, space: Root<'_, M>) {
        let tlb = &self.cpu().tlb;
        if tlb.loaded.load(Relaxed) == space.id {
            // Flushes did not pass the CPU by while it was lazy, and rollovers left it its identifier.
            tlb.lazy.store(0, Relaxed);
            return;
        }
        // For the end of the space, which makes this CPU leave it.
        space.tlb.cpus.insert(self.number());
        let asid = self.enter_identifier(space.tlb);
        fence::<M>(SeqCst);
        self.vm().machine().load_root(RootLoad { root: space.table, asid, keep_entries: true });
        tlb.lazy.store(0, Relaxed);
        self.note_loaded(space, asid);
    }
}
