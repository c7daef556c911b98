//! Pages that their owner has given up until he stores to them again (`MADV_FREE`).
//!
//! Such a page is taken out of its entries as if it were to be moved, so that it can be put back whole. It goes if,
//! after that and the flush, nobody has stored to it and nobody else has a reference: the entry first, then the
//! references, then the mark, against those who take a reference first and look at the entry again (I6, I7).

use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Pfn, folio};
use crate::rmap::{Unmapped, discard_migrating};
use crate::stat::Event;
use crate::sync::fence;
use core::sync::atomic::Ordering::SeqCst;

/// Drops page `pfn`, which is unmapped and flushed and whose folio lock is held, or puts it back; whether it went. The
/// caller's reference is dropped.
pub(super) fn finish<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn, unmapped: Unmapped<'_, M>) -> bool {
    let frame = cx.vm().physical().frame(pfn);
    fence::<M>(SeqCst);
    let is_alone = frame.other_references() == 1 || !M::guard(Guard::LazyFreeCounted);
    let is_dirty = frame.flags() & folio::DIRTY != 0 && M::guard(Guard::LazyFreeRechecked);
    let goes = is_alone && !is_dirty;
    if goes {
        unmapped.complete();
        discard_migrating(cx, pfn);
        cx.count(Event::LazyFreed, 1);
    } else {
        unmapped.undo(cx);
    }
    if is_dirty {
        frame.clear_flags(folio::LAZY_FREE);
    }
    frame.folio_lock().release(cx.vm());
    let is_freed = goes && frame.mappings() == 0;
    object::release(cx, pfn);
    is_freed
}
