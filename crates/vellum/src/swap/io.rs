//! Writing a page to its slot, and reading it.

use super::compressed::{Contents, compress, decompress, has_tier, replace_contents};
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::error::IoError;
use crate::machine::Machine;
use crate::phys::{Folio, Pfn, Physical};
use crate::stat::Event;
use crate::vm::Vm;

/// Why a page was not written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SwapError {
    /// The device failed.
    Io,
    /// What was read is not what had been written, or nothing had been.
    Corrupt,
    /// The area has no device, and the compressed tier did not take the page.
    Full,
    /// The area is being taken apart.
    Gone,
}

/// Writes the page `pfn` to `slot`, with which it is cached: to the compressed tier if that takes it, else to the
/// device. Sleeps: without a [`Cx`]. The caller has the folio lock, and nobody stores to the page (E15).
///
/// # Errors
/// [`SwapError`]; the slot's contents are unknown, unless they are as before.
pub(crate) fn write_page<M: Machine>(vm: &Vm<M>, slot: SwapSlot, pfn: Pfn) -> Result<(), SwapError> {
    let pin = Cx::enter(vm).swap_pin(slot).ok_or(SwapError::Gone)?;
    let place = pin.place(slot).ok_or(SwapError::Gone)?;
    // SAFETY: the frame is a page long and initialised; the caller's reference keeps it, and nobody stores to it.
    let page = unsafe { core::slice::from_raw_parts(vm.machine().frame(pfn), Physical::<M>::PAGE) };
    if let Some(contents) = compress(vm, page) {
        place.set_contents(&Cx::enter(vm), contents);
        return Ok(());
    }
    let device = pin.device().ok_or(SwapError::Full)?;
    // Before, not afterwards: what was sent is what it stands for.
    let contents = Contents::on_device(page);
    let result = device.write(slot.offset(), page);
    let cx = Cx::enter(vm);
    match result {
        Ok(()) => {
            cx.count(Event::SwapOut, 1);
            place.set_contents(&cx, contents);
            Ok(())
        }
        Err(IoError) => {
            cx.count(Event::SwapOutError, 1);
            Err(SwapError::Io)
        }
    }
}

/// Writes the pages of a folio to the slots from `first` on, with which it is cached: each to the compressed tier, if
/// there is one and that takes it, else to the device; without a tier, all of them to the device at once. Otherwise as
/// [`write_page`].
///
/// # Errors
/// [`SwapError`]; the slots' contents are unknown.
pub(crate) fn write_folio<M: Machine>(vm: &Vm<M>, first: SwapSlot, folio: Folio) -> Result<(), SwapError> {
    let pages = || (0..folio.pages()).map(|page| (first.further(page), folio.head.offset(page)));
    if has_tier(vm) {
        return pages().try_for_each(|(slot, pfn)| write_page(vm, slot, pfn));
    }
    let pin = Cx::enter(vm).swap_pin(first).ok_or(SwapError::Gone)?;
    let device = pin.device().ok_or(SwapError::Full)?;
    // SAFETY: as in `write_page`.
    let page = |pfn| unsafe { core::slice::from_raw_parts(vm.machine().frame(pfn), Physical::<M>::PAGE) };
    let words = pin.contents_of_run(first, folio.pages()).ok_or(SwapError::Gone)?;
    for (word, (_, pfn)) in words.iter().zip(pages()) {
        // Nobody reads it until all are written.
        replace_contents(vm, word, Contents::on_device(page(pfn)));
    }
    let result = device.write_run(first.offset(), &mut pages().map(|(_, pfn)| page(pfn)));
    let event = if result.is_ok() { Event::SwapOut } else { Event::SwapOutError };
    Cx::enter(vm).count(event, if result.is_ok() { folio.pages() } else { 1 });
    result.map_err(|IoError| SwapError::Io)
}

/// Reads the page of `slot` into `pfn`, which the caller has put in the cache ([`Cx::swap_insert`]) and whose folio
/// lock he has. Sleeps: without a [`Cx`].
///
/// # Errors
/// [`SwapError`]; what the frame has then is of no use.
pub(crate) fn read_page<M: Machine>(vm: &Vm<M>, slot: SwapSlot, pfn: Pfn) -> Result<(), SwapError> {
    let pin = Cx::enter(vm).swap_pin(slot).ok_or(SwapError::Gone)?;
    let place = pin.place(slot).ok_or(SwapError::Gone)?;
    let frame = vm.machine().frame(pfn);
    // SAFETY: the frame is a page long, and nobody else accesses the contents of a page that is being read.
    let page = unsafe {
        vm.machine().clear_page(frame);
        core::slice::from_raw_parts_mut(frame, Physical::<M>::PAGE)
    };
    let (result, event) = match place.known_contents() {
        Contents::None => (Err(SwapError::Corrupt), Event::SwapIn),
        Contents::Compressed(object, bytes) => (decompress(vm, object, bytes, page), Event::CompressedIn),
        Contents::OnDevice(checksum) => {
            let device = pin.device().ok_or(SwapError::Gone)?;
            let read = device.read(slot.offset(), page).map_err(|IoError| SwapError::Io);
            let check = |()| Contents::is_of(checksum, page).then_some(()).ok_or(SwapError::Corrupt);
            (read.and_then(check), Event::SwapIn)
        }
    };
    Cx::enter(vm).count(if result.is_ok() { event } else { Event::SwapInError }, 1);
    result
}
