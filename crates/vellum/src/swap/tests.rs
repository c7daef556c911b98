//! Tests of swap on a host-backed machine: slots, then the cache, contents, tags; `switch` has those of switching on
//! and off, `panics` those of devices that panic, `ends` those of slots that end beside each other.

mod ends;
mod panics;
mod switch;

use super::cache::Cached;
use super::clusters::CLUSTER;
use super::word::SlotWord;
use super::{
    AreaId, AreaPin, Inserted, Left, SwapAudit, SwapAuditError, SwapDevice, SwapError, SwapTally, SwapUsage, read_page,
    write_page,
};
use crate::arch::{Arch, SwapSlot, Tiny, X86_64};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::object::{IoError, release};
use crate::phys::folio::TAGGED;
use crate::phys::{AllocFlags, FrameArray, Kind, Pfn};
use crate::stat::Event;
use crate::testing::{TestMachine, become_cpu, may_sleep};
use crate::vm::Vm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread;
use std::vec::Vec;

type TestVm<A = X86_64> = Vm<TestMachine<A>>;

const PAGE: usize = 4096;
const CPUS: usize = 4;

fn boot<A: Arch>() -> TestVm<A> {
    become_cpu(0);
    Vm::new(TestMachine::with(&[(0x100, 4000, 0)], &[0; CPUS]).with_compressor()).expect("a machine that boots")
}

/// A device in memory which notes what becomes of it; a handle.
#[derive(Clone, Default)]
struct Device(Arc<DeviceState>);

#[derive(Default)]
struct DeviceState {
    size: u64,
    pages: Mutex<BTreeMap<u64, Vec<u8>>>,
    fails: AtomicBool,
}

impl Device {
    fn new(size: u64) -> Self {
        Device(Arc::new(DeviceState { size, ..DeviceState::default() }))
    }

    fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl SwapDevice for Device {
    fn pages(&self) -> u64 {
        self.0.size
    }

    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        may_sleep("SwapDevice::read");
        if self.0.fails.load(SeqCst) {
            return Err(IoError);
        }
        into.copy_from_slice(&self.0.pages.lock().unwrap()[&page]);
        Ok(())
    }

    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        may_sleep("SwapDevice::write");
        if self.0.fails.load(SeqCst) {
            return Err(IoError);
        }
        self.0.pages.lock().unwrap().insert(page, from.to_vec());
        Ok(())
    }
}

/// An anonymous page with one reference, the folio lock held: one byte, or what no compressor makes smaller.
fn page<A: Arch>(vm: &TestVm<A>, byte: u8) -> Pfn {
    let pfn = Cx::enter(vm).alloc_zeroed(0, AllocFlags::NONE).expect("a frame");
    let frame = vm.physical().frame(pfn);
    frame.set_kind(Kind::Anonymous, 0);
    frame.words.iter().for_each(|word| word.store(0, Relaxed));
    frame.words[0].store(0x1000 + byte as u64, Relaxed);
    frame.set_counts(1, 0);
    bytes(vm, pfn).fill(byte);
    pfn
}

fn noisy_page<A: Arch>(vm: &TestVm<A>, seed: u8) -> Pfn {
    let pfn = page(vm, seed);
    bytes(vm, pfn).iter_mut().enumerate().for_each(|(at, byte)| *byte = (at as u8).wrapping_mul(7) ^ seed);
    pfn
}

#[allow(clippy::mut_from_ref)]
fn bytes<A: Arch>(vm: &TestVm<A>, pfn: Pfn) -> &mut [u8] {
    // SAFETY: the tests have the page to themselves, and use one slice at a time.
    unsafe { core::slice::from_raw_parts_mut(vm.machine().frame(pfn), PAGE) }
}

fn drop_page<A: Arch>(vm: &TestVm<A>, pfn: Pfn) {
    release(&Cx::enter(vm), pfn);
}

fn reserve<A: Arch>(vm: &TestVm<A>) -> SwapSlot {
    Cx::enter(vm).swap_reserve().expect("a free slot")
}

/// Writes a page of one byte to a slot that `entries` entries name, and frees the page.
fn swap_out<A: Arch>(vm: &TestVm<A>, pfn: Pfn, entries: u32, shadow: u64) -> SwapSlot {
    let slot = reserve(vm);
    Cx::enter(vm).swap_attach(slot, pfn);
    (0..entries).for_each(|_| Cx::enter(vm).swap_dup(slot).expect("a count"));
    write_page(vm, slot, pfn).expect("a written page");
    assert!(Cx::enter(vm).swap_detach(slot, pfn, shadow));
    drop_page(vm, pfn);
    drop_page(vm, pfn);
    slot
}

fn audit<A: Arch>(vm: &TestVm<A>, entries: &[(SwapSlot, u32)]) -> SwapAudit {
    try_audit(vm, entries).unwrap_or_else(|error| panic!("{error}"))
}

fn try_audit<A: Arch>(vm: &TestVm<A>, entries: &[(SwapSlot, u32)]) -> Result<SwapAudit, SwapAuditError> {
    let mut tally = SwapTally::default();
    for &(slot, count) in entries {
        (0..count).for_each(|_| tally.add(slot));
    }
    vm.swap_audit(&tally)
}

/// Switches an area off that has no used slots.
fn switch_off<A: Arch>(vm: &TestVm<A>, id: AreaId) {
    vm.begin_off(id).expect("an area that is on");
    assert_eq!(vm.end_off(id), Ok(true), "an area that nobody uses");
}

/// Nothing of swap is left.
fn check_empty<A: Arch>(vm: &TestVm<A>) {
    for cpu in 0..CPUS {
        become_cpu(cpu);
        vm.quiesce();
        Cx::enter(vm).drain_cpu();
    }
    become_cpu(0);
    vm.quiesce();
    assert_eq!(vm.swap_usage(), SwapUsage::default());
    let audit = vm.physical().audit(vm).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(audit.frames(Kind::Allocated) + audit.frames(Kind::Anonymous), 0);
    // A class of slabs keeps one that is empty.
    assert!(audit.frames(Kind::Slab) <= 6, "{} slabs left", audit.frames(Kind::Slab));
}

#[test]
fn words_say_what_was_put_into_them() {
    let pfn = Pfn((1 << 40) - 1);
    let cached = SlotWord::RESERVED.cached_by(pfn).with_count(7);
    assert_eq!((cached.frame(), cached.count(), cached.is_reserved(), cached.shadow()), (Some(pfn), 7, false, 0));
    let stored = cached.stored(0x55_1234_5678_9abc);
    assert_eq!((stored.frame(), stored.count(), stored.shadow()), (None, 7, 0x34_5678_9abc));
    assert!(stored.is_used() && !stored.is_bad() && !SlotWord::FREE.is_used());
    let bad = stored.bad();
    assert!(bad.is_bad() && bad.cached_by(pfn).is_bad() && bad.ending().is_reserved());
    assert_eq!(bad.ending().ended(), SlotWord::FREE.bad());
    assert!(!bad.ending().ended().is_used());
    assert_eq!(stored.ending().ended(), SlotWord::FREE);
}

#[test]
fn arrays_have_two_levels_and_leak_nothing() {
    let vm = boot::<X86_64>();
    for length in [1, 512, 513, 512 * 513 + 1] {
        let free = vm.free_frames();
        let array = FrameArray::new(&vm, length).expect("an array");
        for index in [0, length / 2, length - 1] {
            array.get(&vm, index).expect("a word").store(index + 1, Relaxed);
        }
        for index in [0, length / 2, length - 1] {
            assert_eq!(array.get(&vm, index).expect("a word").load(Relaxed), index + 1);
        }
        assert!(array.get(&vm, length).is_none());
        array.retire(&vm);
        vm.quiesce();
        assert_eq!(vm.free_frames(), free);
    }
    let free = vm.free_frames();
    assert!(matches!(FrameArray::new(&vm, 3990 * 512), Err(Error::OutOfMemory)));
    assert!(matches!(FrameArray::new(&vm, u64::MAX), Err(Error::Invalid { .. })));
    assert!(FrameArray::new(&vm, 0).expect("an empty array").get(&vm, 0).is_none());
    assert_eq!(vm.free_frames(), free);
    check_empty(&vm);
}

#[test]
fn a_slot_goes_through_its_life() {
    let vm = boot::<X86_64>();
    let device = Device::new(1000);
    let area = vm.swap_on(device.clone(), 0).expect("an area");
    assert_eq!(vm.swap_usage(), SwapUsage { total: 1000, ..SwapUsage::default() });

    let (pfn, slot) = (page(&vm, 7), reserve(&vm));
    assert!(try_audit(&vm, &[]).is_err(), "a reserved slot");
    {
        let cx = Cx::enter(&vm);
        cx.swap_attach(slot, pfn);
        assert_eq!((cx.swap_owner(slot), cx.swap_lookup(slot)), (0x1007, Some(Cached { page: pfn, head: pfn })));
        assert!(cx.swap_is_cached(slot, pfn));
        cx.swap_dup(slot).expect("a count");
        assert!(cx.swap_is_last_use(slot));
        cx.swap_dup(slot).expect("a count");
        assert_eq!(cx.swap_count(slot), 2);
    }
    drop_page(&vm, pfn);
    assert_eq!((audit(&vm, &[(slot, 2)]).cached, vm.swap_usage().cached), (1, 1));
    write_page(&vm, slot, pfn).expect("a written page");
    {
        let cx = Cx::enter(&vm);
        assert!(!cx.swap_detach(slot, Pfn(pfn.0 + 1), 99) && cx.swap_detach(slot, pfn, 99));
        assert!(!cx.swap_detach(slot, pfn, 99) && cx.swap_lookup(slot).is_none());
    }
    drop_page(&vm, pfn);
    drop_page(&vm, pfn);
    assert_eq!(audit(&vm, &[(slot, 2)]), SwapAudit { entries: 2, used: 1, ..SwapAudit::default() });
    let wrong = SwapSlot::new(0, slot.offset() + 1);
    assert!(matches!(try_audit(&vm, &[(slot, 1), (wrong, 1)]), Err(SwapAuditError::Entries { .. })));

    let back = page(&vm, 0);
    assert_eq!(Cx::enter(&vm).swap_insert(slot, back), Ok(99));
    read_page(&vm, slot, back).expect("a page that was written");
    assert!(bytes(&vm, back).iter().all(|&byte| byte == 7));
    {
        let cx = Cx::enter(&vm);
        assert_eq!(cx.swap_put(slot), Left::Named);
        assert_eq!(cx.swap_put(slot), Left::Cached(back));
        assert!(cx.swap_detach(slot, back, 0));
    }
    drop_page(&vm, back);
    drop_page(&vm, back);
    assert_eq!(audit(&vm, &[]), SwapAudit::default());
    assert_eq!((vm.totals().get(Event::SwapOut), vm.totals().get(Event::SwapIn)), (1, 1));
    switch_off(&vm, area);
    assert_eq!(device.handles(), 1);
    check_empty(&vm);
}

#[test]
fn slots_are_handed_out_until_there_are_none() {
    let vm = boot::<X86_64>();
    let sizes = [700, 1, 300];
    let areas = sizes.map(|size| vm.swap_on_memory(size, 0).expect("an area"));
    let mut slots = BTreeSet::new();
    let mut cpu = 0;
    loop {
        become_cpu(cpu % CPUS);
        cpu += 1;
        let Some(slot) = Cx::enter(&vm).swap_reserve() else { break };
        assert!(slots.insert(slot), "{slot:?} twice");
    }
    assert_eq!(slots.len() as u64, sizes.iter().sum::<u64>());
    assert!(slots.iter().all(|slot| slot.offset() < sizes[slot.area() as usize]));
    assert_eq!(vm.swap_usage().used, vm.swap_usage().total);
    // Whichever comes back can be had again, by any CPU.
    for &slot in slots.iter().step_by(97) {
        Cx::enter(&vm).swap_cancel(slot);
        become_cpu(cpu % CPUS);
        cpu += 1;
        assert_eq!(Cx::enter(&vm).swap_reserve(), Some(slot));
    }
    slots.iter().for_each(|&slot| Cx::enter(&vm).swap_cancel(slot));
    assert_eq!(audit(&vm, &[]), SwapAudit::default());
    areas.into_iter().for_each(|area| switch_off(&vm, area));
    check_empty(&vm);
}

#[test]
fn a_cpu_takes_consecutive_slots_of_its_own_cluster() {
    let vm = boot::<X86_64>();
    let area = vm.swap_on_memory(64 * CLUSTER, 0).expect("an area");
    let mut taken: [Vec<SwapSlot>; CPUS] = Default::default();
    for _ in 0..CLUSTER {
        for (cpu, taken) in taken.iter_mut().enumerate() {
            become_cpu(cpu);
            taken.push(reserve(&vm));
        }
    }
    for taken in &taken {
        assert!(taken[0].offset().is_multiple_of(CLUSTER));
        assert!(taken.windows(2).all(|pair| pair[0].offset() + 1 == pair[1].offset()));
    }
    become_cpu(0);
    taken.iter().flatten().for_each(|&slot| Cx::enter(&vm).swap_cancel(slot));
    // Empty clusters come before the rests of others.
    let first = reserve(&vm);
    assert!(first.offset() >= CPUS as u64 * CLUSTER && first.offset().is_multiple_of(CLUSTER));
    Cx::enter(&vm).swap_cancel(first);
    switch_off(&vm, area);
    check_empty(&vm);
}

#[test]
fn higher_priorities_come_first_and_equal_ones_in_turns() {
    let vm = boot::<X86_64>();
    let low = vm.swap_on_memory(600, -3).expect("an area");
    let pair = [0; 2].map(|_| vm.swap_on_memory(2 * CLUSTER, 5).expect("an area"));
    let order: Vec<SwapSlot> = (0..600 + 4 * CLUSTER).map(|_| reserve(&vm)).collect();
    let numbers: Vec<u8> = order.chunks(CLUSTER as usize).map(|slots| slots[0].area()).collect();
    assert!(order[..4 * CLUSTER as usize].iter().all(|slot| slot.area() != low.number()));
    assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2] && numbers[2] != numbers[3], "{numbers:?}");
    assert!(Cx::enter(&vm).swap_reserve().is_none());
    order.iter().for_each(|&slot| Cx::enter(&vm).swap_cancel(slot));

    // An area that is being switched off gives none, and gives them again when that is called off.
    pair.iter().for_each(|&area| vm.begin_off(area).expect("an area that is on"));
    assert!(vm.begin_off(pair[0]).is_err(), "twice");
    assert_eq!(reserve(&vm), SwapSlot::new(low.number(), 0));
    assert!(vm.end_off(low).is_err(), "not begun");
    vm.begin_off(low).expect("an area that is on");
    assert_eq!(vm.end_off(low), Ok(false), "in use");
    assert!(Cx::enter(&vm).swap_reserve().is_none());
    vm.cancel_off(low);
    assert_ne!(reserve(&vm).offset(), 0);
    let mut used = Vec::new();
    vm.each_used_slot(low, |slot| used.push(slot));
    assert_eq!((used.len(), vm.area_used(low)), (2, 2));
    used.iter().for_each(|&slot| Cx::enter(&vm).swap_cancel(slot));
    pair.iter().for_each(|&area| assert_eq!(vm.end_off(area), Ok(true), "an area that nobody uses"));
    switch_off(&vm, low);
    assert!(vm.begin_off(low).is_err() && vm.area_used(low) == 0);
    check_empty(&vm);
}

#[test]
fn counts_end_at_their_bound() {
    let vm = boot::<X86_64>();
    let area = vm.swap_on_memory(10, 0).expect("an area");
    let (pfn, slot) = (page(&vm, 1), reserve(&vm));
    let cx = Cx::enter(&vm);
    cx.swap_attach(slot, pfn);
    (0..SlotWord::COUNT_MAX).for_each(|_| cx.swap_dup(slot).expect("a count"));
    assert_eq!((cx.swap_dup(slot), cx.swap_count(slot)), (Err(Error::OutOfMemory), SlotWord::COUNT_MAX));
    assert_eq!(cx.swap_lookup(slot), Some(Cached { page: pfn, head: pfn }));
    (1..SlotWord::COUNT_MAX).for_each(|_| assert_eq!(cx.swap_put(slot), Left::Named));
    assert_eq!(cx.swap_put(slot), Left::Cached(pfn));
    assert!(cx.swap_detach(slot, pfn, 0));
    (0..3).for_each(|_| release(&cx, pfn));
    drop(cx);
    switch_off(&vm, area);
    check_empty(&vm);
}

#[test]
fn one_page_at_a_time_stands_for_a_slot() {
    let vm = boot::<X86_64>();
    let area = vm.swap_on(Device::new(10), 0).expect("an area");
    let slot = swap_out(&vm, page(&vm, 3), 1, 0);
    let (winner, loser) = (page(&vm, 0), page(&vm, 0));
    let cx = Cx::enter(&vm);
    assert_eq!(cx.swap_insert(slot, winner), Ok(0));
    assert_eq!(cx.swap_insert(slot, loser), Err(Inserted::Other));
    let frame = vm.physical().frame(loser);
    assert_eq!((frame.references(), frame.swap_slot()), (1, None));
    assert_eq!(vm.physical().frame(winner).references(), 2);
    assert_eq!(cx.swap_put(slot), Left::Cached(winner));
    assert!(cx.swap_detach(slot, winner, 0));
    assert_eq!(cx.swap_insert(slot, loser), Err(Inserted::Gone));
    [winner, winner, loser].into_iter().for_each(|pfn| release(&cx, pfn));
    drop(cx);
    assert_eq!(audit(&vm, &[]), SwapAudit::default());
    switch_off(&vm, area);
    check_empty(&vm);
}

#[test]
fn threads_that_want_a_slot_get_one_page() {
    let vm = boot::<X86_64>();
    let area = vm.swap_on(Device::new(300), 0).expect("an area");
    let slots: Vec<SwapSlot> = (0..200u32).map(|at| swap_out(&vm, page(&vm, at as u8), CPUS as u32, 0)).collect();
    let reads = AtomicU64::new(0);
    thread::scope(|scope| {
        for cpu in 0..CPUS {
            let (vm, slots, reads) = (&vm, &slots, &reads);
            scope.spawn(move || {
                become_cpu(cpu);
                for (at, &slot) in slots.iter().enumerate() {
                    let pfn = get(vm, slot, reads);
                    assert!(bytes(vm, pfn).iter().all(|&byte| byte == at as u8), "page {at}");
                    let lock = vm.physical().frame(pfn).folio_lock();
                    lock.acquire(vm);
                    let cx = Cx::enter(vm);
                    if let Left::Cached(pfn) = cx.swap_put(slot)
                        && cx.swap_detach(slot, pfn, 0)
                    {
                        release(&cx, pfn);
                    }
                    lock.release(vm);
                    release(&cx, pfn);
                }
            });
        }
    });
    assert_eq!(reads.load(Relaxed), 200);
    assert_eq!(audit(&vm, &[]), SwapAudit::default());
    switch_off(&vm, area);
    check_empty(&vm);
}

/// The page of a slot that the caller has an entry for, with a reference: as a fault gets it.
fn get(vm: &TestVm, slot: SwapSlot, reads: &AtomicU64) -> Pfn {
    loop {
        let found = Cx::enter(vm).swap_lookup(slot).map(|cached| cached.head);
        if let Some(pfn) = found {
            let lock = vm.physical().frame(pfn).folio_lock();
            lock.acquire(vm);
            let is_right = Cx::enter(vm).swap_is_cached(slot, pfn);
            lock.release(vm);
            if is_right {
                return pfn;
            }
            drop_page(vm, pfn);
            continue;
        }
        let fresh = page(vm, 0);
        let lock = vm.physical().frame(fresh).folio_lock();
        lock.acquire(vm);
        let inserted = Cx::enter(vm).swap_insert(slot, fresh);
        if inserted.is_ok() {
            read_page(vm, slot, fresh).expect("a page that was written");
            reads.fetch_add(1, Relaxed);
        }
        lock.release(vm);
        if inserted.is_ok() {
            return fresh;
        }
        drop_page(vm, fresh);
    }
}

#[test]
fn the_compressed_tier_takes_what_fits() {
    let vm = boot::<X86_64>();
    let area = vm.swap_on_memory(100, 0).expect("an area");
    let (pfn, slot) = (page(&vm, 5), reserve(&vm));
    Cx::enter(&vm).swap_attach(slot, pfn);
    assert_eq!(write_page(&vm, slot, pfn), Err(SwapError::Full), "the tier is off");
    vm.set_compressed_limit(1);
    write_page(&vm, slot, pfn).expect("room");
    assert_eq!((vm.swap_usage().compressed_pages, vm.swap_usage().compressed_bytes), (1, 64));
    // Another write replaces the copy.
    bytes(&vm, pfn)[100..3000].fill(6);
    write_page(&vm, slot, pfn).expect("room");
    assert_eq!((vm.swap_usage().compressed_pages, vm.totals().get(Event::CompressedOut)), (1, 2));
    Cx::enter(&vm).swap_dup(slot).expect("a count");
    assert!(Cx::enter(&vm).swap_detach(slot, pfn, 1));
    drop_page(&vm, pfn);
    drop_page(&vm, pfn);
    assert_eq!(audit(&vm, &[(slot, 1)]).compressed, 1);

    let noisy = noisy_page(&vm, 1);
    let other = reserve(&vm);
    Cx::enter(&vm).swap_attach(other, noisy);
    assert_eq!(write_page(&vm, other, noisy), Err(SwapError::Full), "not compressible");
    assert!(Cx::enter(&vm).swap_detach(other, noisy, 0));
    drop_page(&vm, noisy);
    drop_page(&vm, noisy);
    let more: Vec<SwapSlot> = (0..63).map(|at| swap_out(&vm, page(&vm, at), 1, 0)).collect();
    let last = page(&vm, 9);
    let other = reserve(&vm);
    Cx::enter(&vm).swap_attach(other, last);
    assert_eq!(write_page(&vm, other, last), Err(SwapError::Full), "64 copies of 64 bytes");
    assert!(Cx::enter(&vm).swap_detach(other, last, 0));

    assert_eq!(Cx::enter(&vm).swap_insert(slot, last), Ok(1));
    read_page(&vm, slot, last).expect("a page that was written");
    let expected = |at: usize| if (100..3000).contains(&at) { 6 } else { 5 };
    assert!(bytes(&vm, last).iter().enumerate().all(|(at, &byte)| byte == expected(at)));
    assert_eq!(Cx::enter(&vm).swap_put(slot), Left::Cached(last));
    assert!(Cx::enter(&vm).swap_detach(slot, last, 0));
    (0..3).for_each(|_| drop_page(&vm, last));
    more.into_iter().for_each(|slot| assert_eq!(Cx::enter(&vm).swap_put(slot), Left::Free));
    assert_eq!(vm.totals().get(Event::CompressedReject), 2);
    switch_off(&vm, area);
    check_empty(&vm);
}

#[test]
fn a_full_tier_leaves_pages_to_the_device() {
    let vm = boot::<X86_64>();
    let device = Device::new(100);
    let area = vm.swap_on(device.clone(), 0).expect("an area");
    vm.set_compressed_limit(10);
    let (pfn, slot) = (page(&vm, 5), reserve(&vm));
    Cx::enter(&vm).swap_attach(slot, pfn);
    write_page(&vm, slot, pfn).expect("room");
    assert!(device.0.pages.lock().unwrap().is_empty());
    bytes(&vm, pfn).copy_from_slice(bytes(&vm, noisy_page(&vm, 3)));
    write_page(&vm, slot, pfn).expect("a device");
    // The older copy is gone, or it would be what is read.
    assert_eq!((vm.swap_usage().compressed_pages, device.0.pages.lock().unwrap().len()), (0, 1));
    bytes(&vm, pfn).fill(0);
    read_page(&vm, slot, pfn).expect("a page that was written");
    assert_eq!(bytes(&vm, pfn)[..3], [3, 7 ^ 3, 14 ^ 3]);
    assert!(Cx::enter(&vm).swap_detach(slot, pfn, 0));
    assert_eq!(vm.area_used(area), 0);
}

#[test]
fn wrong_contents_are_never_returned() {
    let vm = boot::<X86_64>();
    let device = Device::new(100);
    let area = vm.swap_on(device.clone(), 0).expect("an area");
    let on_device = swap_out(&vm, page(&vm, 5), 1, 0);
    vm.set_compressed_limit(10);
    let compressed = swap_out(&vm, page(&vm, 6), 1, 0);
    let pfn = page(&vm, 0);

    let flip = |at: usize| {
        device.0.pages.lock().unwrap().get_mut(&on_device.offset()).expect("the page")[at] ^= 1;
    };
    for at in [0, 77, PAGE - 1] {
        flip(at);
        assert_eq!(read_page(&vm, on_device, pfn), Err(SwapError::Corrupt));
        flip(at);
    }
    device.0.fails.store(true, SeqCst);
    assert_eq!(read_page(&vm, on_device, pfn), Err(SwapError::Io));
    device.0.fails.store(false, SeqCst);
    read_page(&vm, on_device, pfn).expect("the page as it was");

    let flip = |at: usize| {
        let cx = Cx::enter(&vm);
        let copy = cx.swap_place(compressed).expect("a slot").compressed_copy().expect("a copy");
        // SAFETY: the object is at least that long, and nobody else accesses it.
        unsafe { *copy.as_ptr().cast::<u8>().add(at) ^= 1 };
    };
    // (Byte 0 would make it a byte longer, which this compressor ignores.)
    for at in 1..48 {
        flip(at);
        assert_eq!(read_page(&vm, compressed, pfn), Err(SwapError::Corrupt), "byte {at}");
        flip(at);
    }
    read_page(&vm, compressed, pfn).expect("the page as it was");
    assert_eq!(vm.totals().get(Event::SwapInError), 51);
    drop_page(&vm, pfn);
    assert_eq!(audit(&vm, &[(on_device, 1), (compressed, 1)]).compressed, 1);
    assert_eq!(Cx::enter(&vm).swap_put(on_device), Left::Free);
    assert_eq!(Cx::enter(&vm).swap_put(compressed), Left::Free);
    switch_off(&vm, area);
    check_empty(&vm);
}

#[test]
fn a_failed_write_changes_nothing() {
    let vm = boot::<X86_64>();
    let device = Device::new(100);
    let area = vm.swap_on(device.clone(), 0).expect("an area");
    device.0.fails.store(true, SeqCst);
    let (pfn, slot) = (page(&vm, 5), reserve(&vm));
    Cx::enter(&vm).swap_attach(slot, pfn);
    assert_eq!(write_page(&vm, slot, pfn), Err(SwapError::Io));
    assert_eq!(vm.totals().get(Event::SwapOutError), 1);
    // Never written, so there is nothing to read.
    assert_eq!(read_page(&vm, slot, pfn), Err(SwapError::Corrupt));
    Cx::enter(&vm).swap_mark_bad(slot);
    assert!(Cx::enter(&vm).swap_detach(slot, pfn, 0));
    drop_page(&vm, pfn);
    drop_page(&vm, pfn);
    assert_eq!(audit(&vm, &[]), SwapAudit::default());
    assert_eq!(vm.swap_usage(), SwapUsage { total: 99, ..SwapUsage::default() });
    let others: Vec<SwapSlot> = core::iter::from_fn(|| Cx::enter(&vm).swap_reserve()).collect();
    assert!(others.len() == 99 && !others.contains(&slot));
    others.iter().for_each(|&slot| Cx::enter(&vm).swap_cancel(slot));
    switch_off(&vm, area);
    check_empty(&vm);
}

fn tags(vm: &TestVm<Tiny>, pfn: Pfn) -> [u8; 128] {
    let mut tags = [0; 128];
    vm.machine().read_tags(pfn, &mut tags);
    tags
}

fn set_tags(vm: &TestVm<Tiny>, pfn: Pfn, byte: u8) {
    vm.machine().write_tags(pfn, &[byte; 128]);
    vm.physical().frame(pfn).set_flags(TAGGED);
}

#[test]
fn tags_are_kept_as_long_as_the_slot() {
    let vm = boot::<Tiny>();
    vm.set_compressed_limit(100);
    let area = vm.swap_on_memory(10, 0).expect("an area");
    let (pfn, slot) = (page(&vm, 1), reserve(&vm));
    set_tags(&vm, pfn, 0x31);
    Cx::enter(&vm).swap_attach(slot, pfn);
    vm.machine().allow_allocations(0);
    assert_eq!(Cx::enter(&vm).save_tags(slot, pfn), Err(Error::OutOfMemory));
    vm.machine().allow_allocations(u64::MAX);
    assert!(!Cx::enter(&vm).has_saved_tags(slot));
    Cx::enter(&vm).save_tags(slot, pfn).expect("memory");
    // Newer tags replace those.
    set_tags(&vm, pfn, 0x42);
    vm.machine().allow_allocations(0);
    Cx::enter(&vm).save_tags(slot, pfn).expect("the memory that there is");
    vm.machine().allow_allocations(u64::MAX);
    write_page(&vm, slot, pfn).expect("room");
    (0..2).for_each(|_| Cx::enter(&vm).swap_dup(slot).expect("a count"));
    assert!(Cx::enter(&vm).swap_detach(slot, pfn, 0));
    drop_page(&vm, pfn);
    drop_page(&vm, pfn);
    assert_eq!(audit(&vm, &[(slot, 2)]).tagged, 1);

    // Each page that is read from the slot gets them.
    for _ in 0..2 {
        let pfn = page(&vm, 0);
        assert!(Cx::enter(&vm).swap_insert(slot, pfn).is_ok());
        read_page(&vm, slot, pfn).expect("a page that was written");
        Cx::enter(&vm).restore_tags(slot, pfn);
        assert!(tags(&vm, pfn) == [0x42; 128] && vm.physical().frame(pfn).flags() & TAGGED != 0);
        // Newer ones stay.
        set_tags(&vm, pfn, 0x53);
        Cx::enter(&vm).restore_tags(slot, pfn);
        assert!(tags(&vm, pfn) == [0x53; 128]);
        assert!(Cx::enter(&vm).swap_detach(slot, pfn, 0));
        drop_page(&vm, pfn);
        drop_page(&vm, pfn);
        Cx::enter(&vm).swap_put(slot);
    }
    assert!(!Cx::enter(&vm).has_saved_tags(slot));
    assert_eq!(audit(&vm, &[]), SwapAudit::default());
    switch_off(&vm, area);
    check_empty(&vm);
}

#[test]
fn tags_do_not_pass_to_the_next_page_of_a_slot() {
    let vm = boot::<Tiny>();
    vm.set_compressed_limit(100);
    let area = vm.swap_on_memory(1, 0).expect("an area");
    let (pfn, first) = (page(&vm, 1), reserve(&vm));
    set_tags(&vm, pfn, 0x31);
    Cx::enter(&vm).swap_attach(first, pfn);
    Cx::enter(&vm).save_tags(first, pfn).expect("memory");
    assert!(Cx::enter(&vm).swap_detach(first, pfn, 0));
    drop_page(&vm, pfn);
    drop_page(&vm, pfn);

    let other = page(&vm, 2);
    let slot = reserve(&vm);
    assert_eq!(slot, first);
    Cx::enter(&vm).swap_attach(slot, other);
    Cx::enter(&vm).restore_tags(slot, other);
    assert_eq!(vm.physical().frame(other).flags() & TAGGED, 0);
    set_tags(&vm, other, 0x64);
    Cx::enter(&vm).save_tags(slot, other).expect("memory");
    vm.physical().frame(other).clear_flags(TAGGED);
    Cx::enter(&vm).save_tags(slot, other).expect("nothing to save");
    assert!(!Cx::enter(&vm).has_saved_tags(slot));
    assert!(Cx::enter(&vm).swap_detach(slot, other, 0));
    drop_page(&vm, other);
    drop_page(&vm, other);
    switch_off(&vm, area);
    check_empty(&vm);
}

#[test]
fn the_audit_finds_what_is_wrong() {
    let vm = boot::<Tiny>();
    vm.swap_on(Device::new(600), 0).expect("an area");
    let slot = swap_out(&vm, page(&vm, 1), 3, 0);
    let place = |cx: &Cx<'_, TestMachine<Tiny>>, change: &dyn Fn(&super::areas::Place<'_, TestMachine<Tiny>>)| {
        change(&cx.swap_place(slot).expect("a slot"));
    };
    type Change = fn(&super::areas::Place<'_, TestMachine<Tiny>>) -> u64;
    let swaps: [(Change, &str); 5] = [
        (|place| place.word.swap(place.load().with_count(2).0, SeqCst), "Entries"),
        (|place| place.word.swap(0, SeqCst), "Left"),
        (|place| place.word.swap(SlotWord::RESERVED.0, SeqCst), "State"),
        (|place| place.word.swap(place.load().cached_by(Pfn(0x200)).0, SeqCst), "Cached"),
        (|place| place.area.used.swap(5, SeqCst), "Count"),
    ];
    for (index, (change, name)) in swaps.into_iter().enumerate() {
        let cx = Cx::enter(&vm);
        let old = AtomicU64::new(0);
        place(&cx, &|place| old.store(change(place), Relaxed));
        drop(cx);
        let error = try_audit(&vm, &[(slot, 3)]).expect_err(name);
        assert!(std::format!("{error}").contains(name), "{error} for {name}");
        place(&Cx::enter(&vm), &|place| {
            let word = if index == 4 { &place.area.used } else { place.word };
            word.store(old.load(Relaxed), SeqCst);
        });
    }
    assert_eq!(audit(&vm, &[(slot, 3)]).entries, 3);
    let mut tally = SwapTally::default();
    (0..3).for_each(|_| tally.add(slot));
    tally.add(SwapSlot::new(31, 0));
    assert!(vm.swap_audit(&tally).is_err());
}
