//! Whether a page was accessed.

use super::Seek;
use super::walk::each_mapping;
use crate::arch::PageBits;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::Pfn;

/// Clears the accessed bits of the entries of folio `pfn`; how many had it. The caller has the folio lock and a
/// reference.
///
/// Nothing is flushed: a CPU that has the translation cached does not set the bit again, so a page in use may pass for
/// one that is not. That costs a fault and loses nothing (I10).
pub(crate) fn take_accessed<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> u32 {
    let mut accessed = 0;
    let physical = cx.vm().physical();
    each_mapping(cx, physical.frame(pfn), &Seek::page(physical.whole(pfn)), |found| {
        let old = found.leaf.update_from(found.index, found.word, |word| {
            let bits = word.bits();
            if bits.has(PageBits::ACCESSED) { word.with_bits(bits.without(PageBits::ACCESSED)) } else { word }
        });
        accessed += u32::from(old.0.bits().has(PageBits::ACCESSED));
        true
    });
    accessed
}

/// Makes the page as good as new if it was accessed since this was last asked; whether it was. The caller has the folio
/// lock and a reference.
pub(crate) fn renew_if_accessed<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    let is_accessed = take_accessed(cx, pfn) > 0;
    if is_accessed {
        let physical = cx.vm().physical();
        let frame = physical.frame(pfn);
        frame.set_generation(physical.generation(frame.node()));
    }
    is_accessed
}
