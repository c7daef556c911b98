//! Tests of switching areas on and off.

use super::*;
use crate::arch::Prot;
use crate::ops::{Advice, MapRequest};
use crate::testing::user::store;
use core::mem::ManuallyDrop;

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

/// Known to break (W2): `swap_off` holds pre-emption off across its reads of the device.
#[test]
#[should_panic(expected = "SwapDevice::read, which may sleep, is called with pre-emption off")]
fn switching_off_is_known_to_read_inside_the_core() {
    // The panic leaves the page it was reading locked: nothing is ended behind it.
    let vm = ManuallyDrop::new(boot::<X86_64>());
    let area = vm.swap_on(Device::new(10), 0).expect("an area");
    let space = ManuallyDrop::new(vm.create_space().expect("a space"));
    let address = space.map(&MapRequest::anonymous(PAGE as u64, Prot::READ_WRITE)).expect("room");
    store(&space, address, 1).expect("a page");
    space.advise(address, PAGE as u64, Advice::PageOut).expect("mapped");
    let _ = vm.swap_off(area);
}
