//! What is measured of memory pressure: reclaim, swap and migration, by page. Copying a page, and the device, are left
//! out of the instructions, as clearing is.

use super::jobs::{BenchSpace, BenchVm, PAGE_BYTES, mapped, used_vm};
use super::machine::{PAGE, apart};
use super::window::Window;
use std::sync::Mutex;
use vellum::arch::Prot;
use vellum::ops::{Access, Advice, MapRequest, Place, Sharing};
use vellum::{Backing, IoError, SwapDevice};

/// Pages that are worked on.
const PAGES: u64 = 4096;

/// A swap device in the host's memory.
pub(super) struct MemorySwap(Mutex<Vec<u8>>);

impl MemorySwap {
    pub(super) fn new() -> Self {
        MemorySwap(Mutex::new(vec![0; 2 * PAGES as usize * PAGE]))
    }

    fn transfer(&self, page: u64, body: &mut dyn FnMut(&mut [u8])) -> Result<(), IoError> {
        apart(&mut || {
            let mut contents = self.0.lock().expect("no transfer panics");
            body(&mut contents[page as usize * PAGE..][..PAGE]);
        });
        Ok(())
    }
}

impl SwapDevice for MemorySwap {
    fn pages(&self) -> u64 {
        2 * PAGES
    }

    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        self.transfer(page, &mut |contents| into.copy_from_slice(contents))
    }

    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        self.transfer(page, &mut |contents| contents.copy_from_slice(from))
    }
}

/// A file of zeroes.
pub(super) struct Zeroes;

impl Backing for Zeroes {
    fn length(&self) -> u64 {
        PAGES * PAGE_BYTES
    }

    fn read(&self, _index: u64, page: &mut [u8]) -> Result<(), IoError> {
        page.fill(0);
        Ok(())
    }

    fn write(&self, _index: u64, _page: &[u8]) -> Result<(), IoError> {
        Ok(())
    }

    fn can_punch(&self) -> bool {
        true
    }

    fn punch(&self, _start: u64, _length: u64) -> Result<(), IoError> {
        Ok(())
    }
}

/// A space with [`PAGES`] touched pages, loaded on the CPU, and a swap area.
pub(super) fn with_swap<const R: bool>(vm: &BenchVm<R>) -> (BenchSpace<'_, R>, u64) {
    vm.swap_on(MemorySwap::new(), 0).expect("there is memory");
    let space = vm.create_space().expect("there is memory");
    let address = mapped(&space, PAGES, true);
    vm.switch_to(Some(&space));
    (space, address)
}

/// Unmapping, and freeing, clean pages of a mapped file.
pub fn reclaim_file<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let file = vm.file(Zeroes).expect("there is memory");
    let space = vm.create_space().expect("there is memory");
    let request = MapRequest::object(&file, 0, Sharing::Shared, PAGES * PAGE_BYTES, Prot::READ);
    let address = space.map(&request).expect("there is room");
    space.populate(address, PAGES * PAGE_BYTES, Access::Read).expect("there is memory");
    vm.switch_to(Some(&space));
    let out = || space.advise(address, PAGES * PAGE_BYTES, Advice::PageOut).expect("it is mapped");
    window.whole(PAGES, out, || vm.quiesce());
    assert_eq!(space.rss().file, 0, "pages that were put out are not resident");
}

/// Unmapping anonymous pages, writing them to swap, and freeing them.
pub fn swap_out<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let (space, address) = with_swap(&vm);
    let out = || space.advise(address, PAGES * PAGE_BYTES, Advice::PageOut).expect("it is mapped");
    window.whole(PAGES, out, || vm.quiesce());
    assert_eq!(space.rss().anonymous, 0, "pages that were put out are not resident");
}

/// Faulting pages in from swap, with the pages around them.
pub fn swap_in<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let (space, address) = with_swap(&vm);
    space.advise(address, PAGES * PAGE_BYTES, Advice::PageOut).expect("it is mapped");
    let load = |page| {
        space.fault(address + page * PAGE_BYTES, Access::Read).expect("the page can be read");
    };
    window.each(PAGES, load, || vm.quiesce());
}

/// Moving anonymous pages to another memory node.
pub fn migrate<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = vm.create_space().expect("there is memory");
    let address = mapped(&space, PAGES, true);
    vm.switch_to(Some(&space));
    let mut moved = (0, 0);
    let go = || moved = space.move_pages(address, PAGES * PAGE_BYTES, 1).expect("there is such a node");
    window.whole(PAGES, go, || vm.quiesce());
    assert_eq!(moved, (PAGES, 0), "all pages move");
}

/// Making huge pages of small ones.
pub fn collapse<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = vm.create_space().expect("there is memory");
    let (address, length) = (1 << 40, PAGES * PAGE_BYTES);
    let request = MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(address));
    space.map(&request).expect("there is room");
    space.populate(address, length, Access::Write).expect("there is memory");
    let tables = space.table_pages();
    vm.switch_to(Some(&space));
    let collapse = || space.advise(address, length, Advice::Collapse).expect("there are huge pages");
    window.whole(PAGES, collapse, || vm.quiesce());
    assert!(space.table_pages() < tables, "huge pages need no leaves");
}
