//! Devices that panic: nobody waits for them, and nothing is lost that they were not asked to keep.

use super::*;
use crate::arch::Prot;
use crate::ops::{Advice, HugePages, MapRequest, Place};
use crate::testing::user::{load, store};

/// A device which panics at the next transfer, if it was told to.
#[derive(Clone)]
struct Panicking(Device, Arc<AtomicBool>);

impl Panicking {
    fn transfer(&self) {
        assert!(!self.1.swap(false, SeqCst), "as the test wants");
    }
}

impl SwapDevice for Panicking {
    fn pages(&self) -> u64 {
        self.0.pages()
    }

    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        self.transfer();
        self.0.read(page, into)
    }

    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        self.transfer();
        self.0.write(page, from)
    }
}

#[test]
fn a_huge_page_is_back_when_its_device_has_panicked() {
    let vm = boot::<X86_64>();
    vm.set_huge_pages(HugePages::Always);
    let device = Panicking(Device::new(2048), Arc::default());
    vm.swap_on(device.clone(), 0).expect("an area");
    let space = vm.create_space().expect("a space");
    let (at, length) = (1 << 40, 512 * PAGE as u64);
    space.map(&MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(at))).expect("room");
    store(&space, at + PAGE as u64, 7).expect("a huge page");
    assert_eq!(vm.totals().get(Event::HugeFault), 1);
    let put_out = || space.advise(at, length, Advice::PageOut).expect("it is mapped");
    let run = || {
        become_cpu(1);
        device.1.store(true, SeqCst);
        put_out();
    };
    assert!(thread::scope(|scope| scope.spawn(run).join()).is_err(), "it does not panic");
    assert_eq!((space.rss().anonymous, vm.swap_usage().used), (512, 0), "all of it is back");
    vm.audited().expect("all is well");
    put_out();
    // It is mapped page by page since, and so it is split.
    assert_eq!((space.rss().anonymous, vm.totals().get(Event::HugeSwapOutFallback)), (0, 1));
    assert_eq!(load(&space, at + PAGE as u64), Ok(7));
}

#[test]
fn nobody_waits_for_a_device_that_panicked() {
    const COUNT: u64 = 8;
    let vm = boot::<X86_64>();
    let device = Panicking(Device::new(100), Arc::default());
    let area = vm.swap_on(device.clone(), 0).expect("an area");
    let space = vm.create_space().expect("a space");
    let length = COUNT * PAGE as u64;
    let at = space.map(&MapRequest::anonymous(length, Prot::READ_WRITE)).expect("room");
    let address = |page| at + page * PAGE as u64;
    let panics = |body: &(dyn Fn() + Sync)| {
        let run = || {
            become_cpu(1);
            device.1.store(true, SeqCst);
            body();
        };
        assert!(thread::scope(|scope| scope.spawn(run).join()).is_err(), "it does not panic");
    };
    let put_out = || space.advise(at, length, Advice::PageOut).expect("it is mapped");
    for byte in 1..4 {
        (0..COUNT).for_each(|page| store(&space, address(page), byte + page as u8).expect("a page"));
        panics(&put_out);
        assert_eq!(space.rss().anonymous, COUNT, "what could not be written is back");
        put_out();
        assert_eq!(space.rss().anonymous, 0);
        panics(&|| _ = load(&space, at));
        (0..COUNT).for_each(|page| assert_eq!(load(&space, address(page)), Ok(byte + page as u8)));
    }
    put_out();
    panics(&|| vm.swap_off(area).expect("no error"));
    vm.swap_off(area).expect("it is on still");
    assert_eq!((device.0.handles(), space.rss().anonymous), (1, COUNT));
    drop(space);
    check_empty(&vm);
}

/// A device that panics when it is dropped.
struct PanicsAtEnd;

impl SwapDevice for PanicsAtEnd {
    fn pages(&self) -> u64 {
        5000
    }

    fn read(&self, _: u64, _: &mut [u8]) -> Result<(), IoError> {
        Err(IoError)
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<(), IoError> {
        Err(IoError)
    }
}

impl Drop for PanicsAtEnd {
    fn drop(&mut self) {
        panic!("as the test wants");
    }
}

#[test]
fn an_area_whose_device_panics_at_its_end_leaves_nothing() {
    let vm = boot::<X86_64>();
    let free = || {
        for cpu in [1, 0] {
            become_cpu(cpu);
            vm.quiesce();
            Cx::enter(&vm).drain_cpu();
        }
        vm.free_frames()
    };
    // The slab classes keep an empty slab each from the first time on.
    switch_off(&vm, vm.swap_on(Device::new(10), 0).expect("an area"));
    let before = free();
    let area = vm.swap_on(PanicsAtEnd, 0).expect("an area");
    let run = || {
        become_cpu(1);
        _ = vm.swap_off(area);
    };
    assert!(thread::scope(|scope| scope.spawn(run).join()).is_err(), "it does not panic");
    assert_eq!(free(), before);
    assert_eq!(vm.swap_off(area), Err(Error::Invalid { what: "swap area" }));
    check_empty(&vm);
}
