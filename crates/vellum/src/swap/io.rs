//! Writing a page to its slot, and reading it.

use super::compressed::{Contents, compress, decompress};
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::error::IoError;
use crate::machine::Machine;
use crate::phys::{Pfn, Physical};
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
