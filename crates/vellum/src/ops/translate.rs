//! Looking an address up without locks.

use crate::arch::{Arch, PageBits, Word};
use crate::cpu::{Cx, Reader};
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::Pfn;
use crate::space::Space;
use crate::sync::fence;
use crate::vm::Vm;
use core::sync::atomic::Ordering::SeqCst;

/// What an address translates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The frame.
    pub pfn: Pfn,
    /// What the entry grants and says.
    pub bits: PageBits,
}

impl<'vm, M: Machine> Space<'vm, M> {
    /// What `address` translates to at this moment; `None` if no page is there. Takes no lock and never faults; where a
    /// huge page is just being split it waits for that, and serves flush requests meanwhile: interrupts may be off, but
    /// an interrupt handler, which may have interrupted who splits, must not call this. The answer may be out of date
    /// when it arrives, unless the caller excludes changes. Who wants to use the frame asks for it with
    /// [`Space::hold`].
    #[inline(always)]
    pub fn translate(&self, address: u64) -> Option<Translation> {
        if address >= M::Arch::USER_END {
            return None;
        }
        let in_leaf = self.inner().leaf_entry(&Reader::enter(self.vm()), address);
        let word = if let Some(word) = in_leaf { word } else { self.entry_above(address) };
        translation_of::<M>(word)
    }

    /// The entry of the page at `address` where there was no leaf: in a section of its own, so that the other way has
    /// nothing to keep for it.
    #[cold]
    #[inline(never)]
    fn entry_above(&self, address: u64) -> Word<M::Arch> {
        self.inner().page_entry(&Reader::enter(self.vm()), address)
    }

    /// The page at `address` with a reference: as long as the result lives, its frame holds no other page, even if
    /// `address` shows something else by then. `None` if no page is there, or it has 2^31 references already. Takes no
    /// lock and never faults; waits as [`Space::translate`] does.
    pub fn hold(&self, address: u64) -> Option<HeldPage<'vm, M>> {
        if address >= M::Arch::USER_END {
            return None;
        }
        loop {
            let reader = Reader::enter(self.vm());
            let translation = translation_of::<M>(self.inner().page_entry(&reader, address))?;
            let physical = self.vm().physical();
            let head = physical.head(translation.pfn);
            if is_counted(translation) {
                let frame = physical.frame(head);
                if frame.is_full() {
                    return None;
                }
                if !frame.try_get() {
                    // It has become another page, or its folio is being split by who has the leaf's lock.
                    self.inner().await_lock(&reader, address);
                    continue;
                }
            }
            if !M::SWAP_IS_BARRIER {
                // Against a migration, which empties the entry and then counts: one of both sees the other.
                fence::<M>(SeqCst);
            }
            // The frame may have become another page before it was counted. If the entry names it still, or again, it
            // is this page, and stays it.
            let again = translation_of::<M>(self.inner().page_entry(&reader, address));
            drop(reader);
            // A page of a folio may have become one by itself; then the reference is to another.
            let is_its = || physical.head(translation.pfn) == head || !M::guard(Guard::FolioAskedAgain);
            let is_it = again.is_some_and(|again| again.pfn == translation.pfn) && is_its();
            if is_it || !M::guard(Guard::TranslateRecheck) {
                return Some(HeldPage { vm: self.vm(), translation });
            }
            if is_counted(translation) {
                object::release(&Cx::enter(self.vm()), head);
            }
        }
    }
}

fn translation_of<M: Machine>(word: Word<M::Arch>) -> Option<Translation> {
    // In this order: of most words no more is asked than that.
    let pfn = if let Some(pfn) = word.usual_page() { pfn } else { word.page()? };
    Some(Translation { pfn, bits: word.bits() })
}

/// Whether the page needs a reference: all do, but the zero page.
fn is_counted(translation: Translation) -> bool {
    !translation.bits.has(PageBits::SPECIAL)
}

/// A page that stays what it is, from [`Space::hold`]. To be dropped in the context of an operation.
pub struct HeldPage<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    translation: Translation,
}

impl<M: Machine> HeldPage<'_, M> {
    /// The frame, and what the entry granted and said when it was read.
    pub fn translation(&self) -> Translation {
        self.translation
    }

    /// Notes that the page was stored to through this reference, as a device does: to be called after the stores and
    /// before the reference is dropped. Only where the entry granted [`Prot::WRITE`](crate::arch::Prot::WRITE).
    pub fn mark_dirty(&self) {
        if is_counted(self.translation) {
            object::mark_dirty(self.vm.physical().folio(self.translation.pfn));
        }
    }
}

impl<M: Machine> Drop for HeldPage<'_, M> {
    fn drop(&mut self) {
        if is_counted(self.translation) {
            object::release(&Cx::enter(self.vm), self.translation.pfn);
        }
    }
}

impl<M: Machine> core::fmt::Debug for HeldPage<'_, M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("HeldPage").field(&self.translation).finish()
    }
}
