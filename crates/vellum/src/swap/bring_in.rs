//! Reading a page into the swap cache.

use super::{Inserted, SwapError, read_page};
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::error::Error;
use crate::error::PageError;
use crate::machine::Machine;
use crate::phys::{AllocFlags, Kind, Pfn, folio, refaulted, release};
use crate::stat::Event;
use crate::vm::Vm;
use core::sync::atomic::Ordering::Relaxed;

/// Slots, aligned, of which the others are read when one is: pages that left together often come back together.
const WINDOW: u64 = 8;

/// What came of bringing a page in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SwapIn {
    /// It was read: a major fault.
    Read,
    /// Somebody else has it, or nobody wants it any more.
    LookAgain,
}

/// Reads the page of `slot` into the swap cache, unless it is there, and then its neighbours as far as there is memory.
/// Sleeps: without a [`Cx`].
///
/// # Errors
/// [`PageError::OutOfMemory`]; [`PageError::Io`] if it cannot be read, or is not what was written: nobody gets wrong
/// data.
pub(crate) fn bring_in<M: Machine>(vm: &Vm<M>, slot: SwapSlot) -> Result<SwapIn, PageError> {
    let result = bring_one(vm, slot)?;
    if result == SwapIn::Read {
        read_ahead(vm, slot);
    }
    Ok(result)
}

/// As [`bring_in`], without the neighbours.
pub(crate) fn bring_one<M: Machine>(vm: &Vm<M>, slot: SwapSlot) -> Result<SwapIn, PageError> {
    let Some(pfn) = enter_cache(&Cx::enter(vm), slot)? else { return Ok(SwapIn::LookAgain) };
    let mut reading = Reading { vm, slot, pfn, result: Err(SwapError::Io) };
    reading.result = read_page(vm, slot, pfn);
    reading.result.map(|()| SwapIn::Read).map_err(|_| PageError::Io { index: slot.offset() })
}

/// A page of the swap cache that is being read, with a reference and its folio lock. Ends on every way out, so that
/// nobody waits for a device that has panicked.
struct Reading<'a, M: Machine> {
    vm: &'a Vm<M>,
    slot: SwapSlot,
    pfn: Pfn,
    result: Result<(), SwapError>,
}

impl<M: Machine> Drop for Reading<'_, M> {
    fn drop(&mut self) {
        let cx = Cx::enter(self.vm);
        let frame = self.vm.physical().frame(self.pfn);
        if self.result.is_ok() {
            frame.set_flags(folio::UP_TO_DATE);
        } else if self.result == Err(SwapError::Corrupt) {
            // The place cannot be trusted.
            cx.swap_mark_bad(self.slot);
        }
        if self.result.is_err() && cx.swap_detach(self.slot, self.pfn, 0) {
            // The cache's reference; this one's is dropped below.
            frame.put();
        }
        frame.folio_lock().release(self.vm);
        release(&cx, self.pfn);
    }
}

/// Puts a new page into the cache for `slot`, with a reference and its folio lock for the caller; `None` if one is
/// there, or the slot is not in use any more.
fn enter_cache<M: Machine>(cx: &Cx<'_, M>, slot: SwapSlot) -> Result<Option<Pfn>, PageError> {
    if let Some(cached) = cx.swap_lookup(slot) {
        release(cx, cached.head);
        return Ok(None);
    }
    let pfn = new_page(cx).map_err(|_| PageError::OutOfMemory)?;
    let frame = cx.vm().physical().frame(pfn);
    match cx.swap_insert(slot, pfn) {
        Ok(stamp) => {
            if stamp != 0 {
                refaulted(cx, frame, stamp);
            }
            Ok(Some(pfn))
        }
        Err(Inserted::Other | Inserted::Gone) => {
            frame.folio_lock().release(cx.vm());
            release(cx, pfn);
            Ok(None)
        }
    }
}

/// A page that nobody knows, to read a slot into, with a reference and its folio lock for the caller.
pub(crate) fn new_page<M: Machine>(cx: &Cx<'_, M>) -> Result<Pfn, Error> {
    let pfn = cx.alloc_frame(0, AllocFlags::NONE)?;
    let frame = cx.vm().physical().frame(pfn);
    frame.set_kind(Kind::Anonymous, 0);
    frame.words[..3].iter().for_each(|word| word.store(0, Relaxed));
    frame.begin_locked();
    Ok(pfn)
}

/// Reads the slots around `slot` that are in use, while no node lacks memory. Errors are those of who wants the pages.
fn read_ahead<M: Machine>(vm: &Vm<M>, slot: SwapSlot) {
    let first = slot.offset() & !(WINDOW - 1);
    let mut read = 0;
    for offset in (first..first + WINDOW).filter(|&offset| offset != slot.offset()) {
        let neighbour = SwapSlot::new(slot.area(), offset);
        if !Cx::enter(vm).swap_is_away(neighbour) || vm.needs_reclaim().is_some() {
            continue;
        }
        match bring_one(vm, neighbour) {
            Ok(result) => read += u64::from(result == SwapIn::Read),
            Err(_) => break,
        }
    }
    Cx::enter(vm).count(Event::SwapReadAhead, read);
}
