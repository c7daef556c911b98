//! Pages that leave the swap cache as nobody wants them there any more.

use super::Left;
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::{Pfn, folio, release};

/// Takes a page, or a folio, out of the swap cache if no entry names a slot of it any more; whether it did. The caller
/// has a reference.
pub(crate) fn leave_cache<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    let lock = cx.vm().physical().frame(pfn).folio_lock();
    if !lock.try_acquire() {
        return false;
    }
    let has_left = leave_cache_locked(cx, pfn);
    lock.release(cx.vm());
    has_left
}

/// As [`leave_cache`], with the folio lock held.
pub(crate) fn leave_cache_locked<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    let (frame, pages) = (cx.vm().physical().frame(pfn), cx.vm().physical().whole(pfn).pages());
    let is_unnamed = |slot| match pages {
        1 => cx.swap_count(slot) == 0,
        _ => cx.swap_run_is_unnamed(slot, pages),
    };
    let Some(slot) = frame.swap_slot().filter(|&slot| is_unnamed(slot)) else { return false };
    if cx.swap_detach(slot, pfn, 0) {
        // The caller's reference keeps the page.
        frame.put();
    }
    true
}

impl<M: Machine> Cx<'_, M> {
    /// One entry less names `slot`, the caller's. If it was the last, and the page is in the swap cache for nobody
    /// else, that goes too, unless somebody is at work on it; then it goes with reclaim. Locks of tables may be held.
    pub(crate) fn drop_swap_entry(&self, slot: SwapSlot) {
        if let Left::Cached(_) = self.swap_put(slot)
            && let Some(cached) = self.swap_lookup_locked(slot)
        {
            leave_cache(self, cached.head);
            release(self, cached.head);
        }
    }

    /// Drops a mapping of page `pfn`, and frees its folio if that was the last reference.
    pub(crate) fn end_page_mapping(&self, pfn: Pfn) {
        let head = self.vm().physical().head(pfn);
        if self.drop_page_mapping(head) {
            self.free_frame(head);
        }
    }

    /// Drops a mapping of the folio `head`, and takes it out of the swap cache if nobody else wants it there; whether
    /// the last reference went.
    #[inline(always)]
    pub(crate) fn drop_page_mapping(&self, head: Pfn) -> bool {
        let (frame, pfn) = (self.vm().physical().frame(head), head);
        if frame.flags_relaxed() & folio::SWAP_CACHE != 0 {
            return self.drop_cached_mapping(pfn);
        }
        frame.drop_mapping()
    }

    #[cold]
    #[inline(never)]
    fn drop_cached_mapping(&self, pfn: Pfn) -> bool {
        let frame = self.vm().physical().frame(pfn);
        frame.get();
        frame.drop_mapping();
        if frame.mappings() == 0 {
            leave_cache(self, pfn);
        }
        frame.put()
    }
}
