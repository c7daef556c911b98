//! Making the entries of a file's page clean, so that later stores are noticed.

use super::walk::each_mapping;
use crate::arch::{Arch, PageBits};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::{Pfn, folio};
use crate::tlb::UnmapBatch;

/// Takes dirty marks, and the right to store, from the entries of page `pfn` of an object; the page counts as stored to
/// if one had it. The flushes are the batch's to do, before the page is written. The caller has the folio lock and a
/// reference.
pub(crate) fn clean_entries<'a, M: Machine>(cx: &'a Cx<'_, M>, batch: &mut UnmapBatch<'a, M>, pfn: Pfn) {
    let frame = cx.vm().physical().frame(pfn);
    each_mapping(cx, pfn, &mut |found| {
        let (old, new) = found.leaf.update(found.index, |word| {
            let bits = M::Arch::page_bits(word);
            let clean = bits.without(PageBits::DIRTY | PageBits::WRITE);
            if clean == bits { word } else { M::Arch::page(pfn, clean) }
        });
        if old != new {
            let bits = M::Arch::page_bits(old);
            if bits.has(PageBits::DIRTY) {
                frame.set_flags(folio::DIRTY);
            }
            batch.add(found.space, found.leaf, found.address, bits);
        }
        true
    });
}
