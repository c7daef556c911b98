//! Memory tags of frames: copying and clearing them. Each frame of a folio has its own; that they mean something says
//! its head.

use super::{Pfn, folio};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::machine::Machine;

/// Room for the tags of a page on any architecture.
const BYTES_MAX: usize = 256;

/// Bytes that the tags of a page take; 0 where the processor has none.
pub(crate) const fn tag_bytes<A: Arch>() -> usize {
    match A::SEMANTICS.tags {
        Some(format) => format.bytes(A::PAGE_SHIFT),
        None => 0,
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Copies the memory tags of a page to `to`, a frame that nobody else uses, if they mean something.
    #[inline(always)]
    pub(crate) fn copy_tags(&self, from: Pfn, to: Pfn) {
        if M::Arch::semantics().tags.is_some() && self.vm().physical().folio(from).flags() & folio::TAGGED != 0 {
            self.copy_meaningful_tags(from, to);
        }
    }

    #[cold]
    fn copy_meaningful_tags(&self, from: Pfn, to: Pfn) {
        const { assert!(tag_bytes::<M::Arch>() <= BYTES_MAX) };
        let mut room = [0; BYTES_MAX];
        let tags = &mut room[..tag_bytes::<M::Arch>()];
        self.vm().machine().read_tags(from, tags);
        self.vm().machine().write_tags(to, tags);
        self.vm().physical().folio(to).set_flags(folio::TAGGED);
    }

    /// Gives the frame of a new page, which nobody else knows, tags of zero, as a mapping that checks tags needs them.
    #[cold]
    pub(crate) fn clear_tags(&self, pfn: Pfn) {
        if M::Arch::semantics().tags.is_some() {
            self.vm().machine().write_tags(pfn, &[0; BYTES_MAX][..tag_bytes::<M::Arch>()]);
            self.vm().physical().folio(pfn).set_flags(folio::TAGGED);
        }
    }
}
