//! Whether a page was accessed.

use super::{Name, Seek, walk};
use crate::arch::{Arch, PageBits};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::Pfn;
use core::ops::ControlFlow;

/// Clears the accessed bits of the entries of page `pfn`; how many had it. The caller has the folio lock and a
/// reference.
///
/// Nothing is flushed: a CPU that has the translation cached does not set the bit again, so a page in use may pass for
/// one that is not. That costs a fault and loses nothing (I10).
pub(crate) fn take_accessed<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> u32 {
    let frame = cx.vm().physical().frame(pfn);
    let mut left = frame.mappings();
    let mut accessed = 0;
    if left == 0 {
        return 0;
    }
    let Some(name) = Name::of(frame) else { return 0 };
    let _ = walk(cx, &name, Seek::Page(pfn), &mut |found| {
        let old = found.leaf.update(found.index, |word| {
            let bits = M::Arch::page_bits(word);
            if bits.has(PageBits::ACCESSED) { M::Arch::page(pfn, bits.without(PageBits::ACCESSED)) } else { word }
        });
        accessed += u32::from(M::Arch::page_bits(old.0).has(PageBits::ACCESSED));
        left = left.saturating_sub(1);
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    accessed
}
