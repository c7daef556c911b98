//! Tests of switching areas on and off.

use super::*;
use crate::arch::Prot;
use crate::ops::{Advice, FaultError, MapRequest};
use crate::space::Space;
use crate::testing::user::{load, store};

#[test]
fn an_area_that_cannot_be_had_leaves_nothing() {
    let vm = boot::<Tiny>();
    let free = |vm: &TestVm<Tiny>| {
        Cx::enter(vm).drain_cpu();
        vm.free_frames()
    };
    // The slab classes keep an empty slab each from the first time on.
    switch_off(&vm, vm.swap_on(Device::new(10), 0).expect("an area"));
    vm.quiesce();
    let before = free(&vm);
    let mut failures = 0;
    for allowed in 0.. {
        let device = Device::new(5000);
        vm.machine().allow_allocations(allowed);
        let result = vm.swap_on(device.clone(), 0);
        vm.machine().allow_allocations(u64::MAX);
        match result {
            Ok(area) => {
                assert_eq!(device.handles(), 2);
                switch_off(&vm, area);
                break;
            }
            Err(error) => assert_eq!(error, Error::OutOfMemory),
        }
        failures += 1;
        assert_eq!((device.handles(), free(&vm)), (1, before), "after {allowed} allocations");
    }
    // Device, area, five upper blocks, ten frames of each of four sorts, one of clusters.
    assert_eq!(failures, 2 + 5 + 40 + 1);
    vm.quiesce();
    assert_eq!(free(&vm), before);

    assert_eq!(vm.swap_on(Device::new(0), 0), Err(Error::ZeroLength { what: "swap area" }));
    assert!(matches!(vm.swap_on_memory(u64::MAX, 0), Err(Error::Invalid { .. })));
    let areas: Vec<AreaId> = (0..32).map(|_| vm.swap_on_memory(1, 0).expect("an area")).collect();
    assert!(matches!(vm.swap_on_memory(1, 0), Err(Error::Invalid { .. })));
    areas.into_iter().for_each(|area| switch_off(&vm, area));
    check_empty(&vm);
}

#[test]
fn a_device_is_dropped_with_the_instance() {
    let device = Device::new(10);
    let vm = boot::<X86_64>();
    vm.swap_on(device.clone(), 0).expect("an area");
    vm.swap_on_memory(10, 0).expect("an area");
    static STATIC: Nothing = Nothing;
    vm.swap_on(&STATIC, 0).expect("an area");
    vm.swap_on(&STATIC as &dyn SwapDevice, 0).expect("an area");
    assert_eq!(device.handles(), 2);
    drop(vm);
    assert_eq!(device.handles(), 1);
}

struct Nothing;

impl SwapDevice for Nothing {
    fn pages(&self) -> u64 {
        1
    }

    fn read(&self, _page: u64, _into: &mut [u8]) -> Result<(), IoError> {
        Err(IoError)
    }

    fn write(&self, _page: u64, _from: &[u8]) -> Result<(), IoError> {
        Err(IoError)
    }
}

#[test]
fn a_pin_keeps_the_area() {
    let vm = boot::<X86_64>();
    let device = Device::new(10);
    let area = vm.swap_on(device.clone(), 0).expect("an area");
    let slot = SwapSlot::new(area.number(), 3);
    let pin: AreaPin<'_, TestMachine> = Cx::enter(&vm).swap_pin(slot).expect("an area that is on");
    vm.begin_off(area).expect("an area that is on");
    drop(Cx::enter(&vm).swap_pin(slot).expect("an area that is still there"));
    let is_off = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            become_cpu(1);
            assert_eq!(vm.end_off(area), Ok(true), "an area that nobody uses");
            is_off.store(true, SeqCst);
        });
        while Cx::enter(&vm).swap_pin(slot).is_some() {
            thread::yield_now();
        }
        assert!(!is_off.load(SeqCst) && device.handles() == 2 && pin.device().is_some());
        drop(pin);
    });
    assert_eq!(device.handles(), 1);
    assert!(Cx::enter(&vm).swap_pin(slot).is_none());
    let again = vm.swap_on_memory(10, 0).expect("an area");
    assert!(again.number() == area.number() && again != area && vm.begin_off(area).is_err());
    switch_off(&vm, again);
    check_empty(&vm);
}

/// A space with a page of its own that has gone to swap, and its address.
fn space_with_page(vm: &TestVm) -> (Space<'_, TestMachine>, u64) {
    let space = vm.create_space().expect("a space");
    let address = space.map(&MapRequest::anonymous(PAGE as u64, Prot::READ_WRITE)).expect("room");
    store(&space, address, 7).expect("a page");
    put_out(&space, address);
    (space, address)
}

fn put_out(space: &Space<'_, TestMachine>, address: u64) {
    space.advise(address, PAGE as u64, Advice::PageOut).expect("mapped");
}

/// The device may sleep where it is read: it says so ([`may_sleep`]).
#[test]
fn what_an_area_has_comes_back_and_is_read_outside_the_core() {
    let vm = boot::<X86_64>();
    let area = vm.swap_on(Device::new(10), 0).expect("an area");
    let (space, address) = space_with_page(&vm);
    assert_eq!((vm.swap_off(area), load(&space, address)), (Ok(()), Ok(7)));
    assert_eq!(vm.swap_off(area), Err(Error::Invalid { what: "swap area" }));
    drop(space);
    check_empty(&vm);
}

#[test]
fn what_cannot_be_read_is_lost_and_its_slot_free() {
    let vm = boot::<X86_64>();
    let device = Device::new(10);
    let area = vm.swap_on(device.clone(), 0).expect("an area");
    let (space, address) = space_with_page(&vm);
    let child = space.fork().expect("memory");
    device.0.fails.store(true, SeqCst);
    for (space, used) in [(&space, 1), (&child, 0)] {
        assert_eq!((space.bring_back(address), vm.swap_usage().used), (Ok(()), used));
        assert!(matches!(load(space, address), Err(FaultError::Bus { .. })));
    }
    assert_eq!((vm.swap_off(area), vm.swap_usage()), (Ok(()), SwapUsage::default()));
    drop((space, child));
    check_empty(&vm);
}

/// As in Linux: what is given up reads as fresh memory, also if it could not be read.
#[test]
fn what_is_lost_can_be_given_up() {
    let vm = boot::<X86_64>();
    let device = Device::new(10);
    let area = vm.swap_on(device.clone(), 0).expect("an area");
    let (space, address) = space_with_page(&vm);
    device.0.fails.store(true, SeqCst);
    assert!(matches!(load(&space, address), Err(FaultError::Bus { .. })));
    // Its slot is needed, so it is lost for good.
    assert_eq!((space.bring_back(address), vm.swap_usage().used), (Ok(()), 0));
    assert!(matches!(load(&space, address), Err(FaultError::Bus { .. })));
    space.advise(address, PAGE as u64, Advice::Free).expect("it is mapped");
    assert_eq!(load(&space, address), Ok(0));
    assert_eq!(vm.swap_off(area), Ok(()));
    drop(space);
    check_empty(&vm);
}

#[test]
fn a_cached_page_goes_to_another_area_when_its_own_is_being_emptied() {
    let vm = boot::<X86_64>();
    let first = vm.swap_on(Device::new(10), 1).expect("an area");
    let (space, address) = space_with_page(&vm);
    let used = |area| vm.area_used(area);
    assert_eq!((load(&space, address), used(first)), (Ok(7), 1), "the slot stays while the page is clean");
    vm.begin_off(first).expect("an area that is on");
    put_out(&space, address);
    assert_eq!((used(first), space.rss().anonymous), (0, 1), "there is nowhere else to go");
    let second = vm.swap_on(Device::new(10), 0).expect("an area");
    put_out(&space, address);
    assert_eq!((used(first), used(second), space.rss().anonymous), (0, 1, 0));
    assert_eq!((vm.end_off(first), load(&space, address)), (Ok(true), Ok(7)));
    drop(space);
    switch_off(&vm, second);
    check_empty(&vm);
}

/// An entry of another space names the slot, which has to be read there: the page stays where it is.
#[test]
fn a_cached_page_that_others_need_stays_when_its_area_is_being_emptied() {
    let vm = boot::<X86_64>();
    let area = vm.swap_on(Device::new(10), 1).expect("an area");
    let (space, address) = space_with_page(&vm);
    let child = space.fork().expect("memory");
    assert_eq!(load(&space, address), Ok(7));
    let other = vm.swap_on(Device::new(10), 0).expect("an area");
    vm.begin_off(area).expect("an area that is on");
    put_out(&space, address);
    assert_eq!((vm.area_used(area), vm.area_used(other), space.rss().anonymous), (1, 0, 1));
    vm.cancel_off(area);
    assert_eq!((vm.swap_off(area), load(&child, address)), (Ok(()), Ok(7)));
    drop((space, child));
    switch_off(&vm, other);
    check_empty(&vm);
}

/// Whoever looks before a slot changes sleeps until it has, and is not told of what happens while the area is on.
#[test]
fn changes_are_counted_while_an_area_is_being_emptied() {
    let vm = boot::<X86_64>();
    let area = vm.swap_on(Device::new(10), 1).expect("an area");
    let (space, address) = space_with_page(&vm);
    assert_eq!(vm.area_changes(area), 0);
    vm.begin_off(area).expect("an area that is on");
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            become_cpu(1);
            while vm.area_used(area) > 0 {
                vm.await_area_change(area, 0);
            }
            vm.area_changes(area)
        });
        space.unmap(address, PAGE as u64).expect("mapped");
        // The count of the entry, and the slot.
        assert_eq!(sleeper.join().expect("no panic"), 2);
    });
    assert_eq!(vm.end_off(area), Ok(true));
    drop(space);
    check_empty(&vm);
}
