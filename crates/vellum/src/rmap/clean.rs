//! Making the entries of a file's page clean, so that later stores are noticed.

use super::Seek;
use super::walk::each_mapping;
use crate::arch::{PageBits, Word};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Folio, Pfn, folio};
use crate::space::{Begun, OneMore, UnmapBatch};

/// Takes dirty marks, and the right to store, from the entries of page `pfn` of `object`. The flushes are the batch's
/// to do, before the page is written. The caller has the folio lock and a reference.
///
/// Afterwards the page is marked if anything was stored to it through a mapping before this began and it was not
/// written since, unless something is returned: then a space at its end may still have it, and this is to be done again
/// after that was waited for. Of those ends only `which` count, if given.
pub(crate) fn clean_entries<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    batch: &mut UnmapBatch<'a, M>,
    object: &object::Inner<M>,
    pfn: Pfn,
    which: Option<Begun>,
) -> Option<OneMore> {
    let frame = cx.vm().physical().frame(pfn);
    // Whoever takes an entry marks the page before he drops the mapping.
    if frame.mappings() == 0 {
        return None;
    }
    // One mapping that is met is all there is, whatever the other places show.
    if frame.mappings() == 1 && clean(cx, batch, pfn, Seek::page(Folio::single(pfn))) {
        return None;
    }
    clean(cx, batch, pfn, Seek::stored(pfn));
    cx.end_under_way(object, which)
}

/// Makes the entries clean that a walk finds; whether it has met the page's only mapping.
fn clean<'a, M: Machine>(cx: &'a Cx<'_, M>, batch: &mut UnmapBatch<'a, M>, pfn: Pfn, seek: Seek) -> bool {
    let frame = cx.vm().physical().frame(pfn);
    let mut is_only = false;
    each_mapping(cx, frame, &seek, |found| {
        let (old, new) = found.leaf.update_from(found.index, found.word, |word| {
            let bits = word.bits();
            let clean = bits.without(PageBits::DIRTY | PageBits::WRITE);
            if clean == bits { word } else { Word::of_page(pfn, clean) }
        });
        if old != new {
            let bits = old.bits();
            if bits.has(PageBits::DIRTY) {
                frame.set_flags(folio::DIRTY);
            }
            batch.add(found.space, found.leaf, found.address, bits);
        }
        is_only = frame.mappings() == 1;
        true
    });
    is_only
}
