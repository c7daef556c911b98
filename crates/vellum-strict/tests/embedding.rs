//! The guide's machine, wrapped: what an embedder writes, and what the core does with it, breaks nothing.
//!
//! `docs/EMBEDDING.md` takes its code about testing a machine from here.

#[path = "../../vellum/examples/embed.rs"]
#[allow(dead_code)]
mod embed;

use embed::Toy;
use std::sync::{Arc, Mutex};
use vellum::arch::Prot;
use vellum::ops::{Access, Advice, MapRequest, Sharing};
use vellum::{Backing, Error, IoError, Machine, SwapDevice, Vm};
use vellum_strict::{Checked, Strict};

const PAGE: u64 = 4096;

fn flush_interrupt<M: Machine>(vm: &Vm<Strict<Arc<Checked<M>>>>) {
    // SAFETY: the handler stays on the CPU that was interrupted.
    vm.machine().interrupt(|| unsafe { vm.handle_interrupt() });
}

/// Some pages, as a file or a device.
struct Pages(Mutex<Vec<[u8; PAGE as usize]>>);

impl Pages {
    fn new(count: usize) -> Pages {
        Pages(Mutex::new((0..count).map(|number| [number as u8; PAGE as usize]).collect()))
    }

    fn copy_to(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        into.copy_from_slice(self.0.lock().map_err(|_| IoError)?.get(page as usize).ok_or(IoError)?);
        Ok(())
    }

    fn copy_from(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        self.0.lock().map_err(|_| IoError)?.get_mut(page as usize).ok_or(IoError)?.copy_from_slice(from);
        Ok(())
    }
}

impl Backing for Pages {
    fn length(&self) -> u64 {
        self.0.lock().map_or(0, |pages| pages.len() as u64 * PAGE)
    }
    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        self.copy_to(index, page)
    }
    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        self.copy_from(index, page)
    }
}

impl SwapDevice for Pages {
    fn pages(&self) -> u64 {
        self.0.lock().map_or(0, |pages| pages.len() as u64)
    }
    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        self.copy_to(page, into)
    }
    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        self.copy_from(page, from)
    }
}

#[test]
fn the_guides_machine_keeps_the_contract() -> Result<(), Error> {
    let strict = Strict::new(Arc::new(Checked::new(Toy::default())));
    let vm = Vm::new(strict.clone()).expect("a machine");
    let rom = strict.watch(Pages::new(4));
    let text = vm.file(rom)?;
    vm.swap_on(strict.watch(Pages::new(64)), 0)?;

    let space = vm.create_space()?;
    vm.switch_to(Some(&space));
    let own = space.map(&MapRequest::anonymous(16 * PAGE, Prot::READ_WRITE))?;
    let shown = space.map(&MapRequest::object(&text, 0, Sharing::Shared, 4 * PAGE, Prot::READ_WRITE))?;
    let faults = |space: &vellum::Space<'_, _>, start: u64, pages: u64, access| {
        (0..pages).for_each(|page| _ = space.fault(start + page * PAGE, access).expect("mapped"));
    };
    faults(&space, own, 16, Access::Write);
    faults(&space, shown, 4, Access::Write);
    let child = space.fork()?;
    faults(&child, own, 4, Access::Write);
    child.advise(own, 16 * PAGE, Advice::PageOut)?;
    faults(&child, own, 16, Access::Read);
    text.write_back()?;
    vm.enter_lazy();
    flush_interrupt(&vm);
    vm.switch_to(Some(&child));
    space.protect(own, PAGE, Prot::READ)?;
    space.unmap(own, 8 * PAGE)?;
    assert!(vm.reclaim(0, 8) > 0);
    strict.watchdog(0);
    vm.switch_to(None);
    drop((child, space, text));
    // SAFETY: the other threads have ended.
    unsafe { vm.audit() }.expect("a sound end");
    Ok(())
}
