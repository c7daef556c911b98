//! Saved memory tags, one record a slot: so whoever gets the page, by whatever entry, gets its tags.
//!
//! A record is a slab object with the tags as [`Machine::read_tags`] gives them. It lives until the slot is free:
//! several entries may name the slot, and each page that is read from it needs the tags. Whoever saves or restores tags
//! has the folio lock of the page that is cached with the slot.

use super::areas::Place;
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::folio::TAGGED;
use crate::phys::{AllocFlags, Folio, Pfn, tag_bytes};
use crate::sync::AtomicU64;
use crate::vm::Vm;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};

impl<M: Machine> Cx<'_, M> {
    /// Saves the tags of `pfn` with `slot`, in the place of what was saved there; of a page whose tags mean nothing,
    /// nothing remains. The caller has the folio lock, the page is cached with the slot, and no entry shows it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; what was saved before is still there.
    pub(crate) fn save_tags(&self, slot: SwapSlot, pfn: Pfn) -> Result<(), Error> {
        let bytes = tag_bytes::<M::Arch>();
        if bytes == 0 {
            return Ok(());
        }
        let place = self.swap_place(slot).ok_or(Error::Invalid { what: "swap slot" })?;
        if self.vm().physical().folio(pfn).flags() & TAGGED == 0 {
            place.free_tags(self);
            return Ok(());
        }
        let Some(word) = place.tags() else { return Ok(()) };
        let found = record_at(word.load(Acquire));
        let record = match found {
            Some(_) if !M::guard(Guard::TagsSavedAnew) => return Ok(()),
            Some(record) => record,
            None => self.new_record(bytes)?,
        };
        // SAFETY: the record is that large, and nobody else accesses it while the caller has the folio lock.
        let tags = unsafe { core::slice::from_raw_parts_mut(record.as_ptr(), bytes) };
        self.vm().machine().read_tags(pfn, tags);
        word.store(record.as_ptr().expose_provenance() as u64, Release);
        Ok(())
    }

    /// Gives `pfn`, which was read from `slot`, the tags that are saved with it, if there are any. They stay saved. A
    /// page whose tags mean something keeps those, which are newer. Before any entry shows the page; the caller has the
    /// folio lock.
    pub(crate) fn restore_tags(&self, slot: SwapSlot, pfn: Pfn) {
        let bytes = tag_bytes::<M::Arch>();
        if bytes == 0 {
            return;
        }
        let frame = self.vm().physical().folio(pfn);
        let Some(place) = self.swap_place(slot).filter(|_| M::guard(Guard::TagsRestored)) else { return };
        let Some(record) = place.tags().and_then(|word| record_at(word.load(Acquire))) else { return };
        if frame.flags() & TAGGED != 0 {
            return;
        }
        // SAFETY: the record is that large, and stays while the slot is used; it was filled before it was named.
        let tags = unsafe { core::slice::from_raw_parts(record.as_ptr(), bytes) };
        self.vm().machine().write_tags(pfn, tags);
        frame.set_flags(TAGGED);
        if !M::guard(Guard::TagsKept) {
            place.free_tags(self);
        }
    }

    /// Whether tags are saved with `slot`.
    #[cfg(test)]
    pub(crate) fn has_saved_tags(&self, slot: SwapSlot) -> bool {
        let word = self.swap_place(slot).and_then(|place| place.tags());
        word.is_some_and(|word| word.load(Acquire) != 0)
    }

    /// Memory for tags. It may come from the reserve, since it serves to free a page; the machine is asked all the same
    /// whether it is to be had, so that a laboratory can make it fail.
    fn new_record(&self, bytes: usize) -> Result<NonNull<u8>, Error> {
        if !self.vm().machine().allow_allocation(0) {
            return Err(Error::OutOfMemory);
        }
        self.slab_alloc_with(bytes, AllocFlags::RESERVE)
    }
}

/// As [`Cx::save_tags`], of all pages of a folio, for the slots from `first` on. Without a [`Cx`], as there are many.
///
/// # Errors
/// [`Error::OutOfMemory`]; what was saved until then goes with its slots, or is saved anew (E10).
pub(crate) fn save_folio_tags<M: Machine>(vm: &Vm<M>, first: SwapSlot, folio: Folio) -> Result<(), Error> {
    let pages = if tag_bytes::<M::Arch>() > 0 { folio.pages() } else { 0 };
    (0..pages).try_for_each(|page| Cx::enter(vm).save_tags(first.further(page), folio.head.offset(page)))
}

impl<M: Machine> Place<'_, M> {
    /// Frees the saved tags.
    pub(super) fn free_tags(&self, cx: &Cx<'_, M>) {
        if let Some(word) = self.tags() {
            free_tags(cx, word);
        }
    }
}

/// Frees what a slot's word says is saved.
pub(super) fn free_tags<M: Machine>(cx: &Cx<'_, M>, word: &AtomicU64<M>) {
    if word.load(Acquire) != 0
        && let Some(record) = record_at(word.swap(0, AcqRel))
    {
        cx.slab_free(record, tag_bytes::<M::Arch>());
    }
}

/// The record at that address, 0 for none.
fn record_at(address: u64) -> Option<NonNull<u8>> {
    NonNull::new(with_exposed_provenance_mut(address as usize))
}
