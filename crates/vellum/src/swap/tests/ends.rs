//! A folio leaves the swap cache while the last entry of one of its slots is dropped, at the exact place.

use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::object::release;
use crate::phys::Pfn;
use crate::swap::clusters::CLUSTER;
use crate::swap::word::SlotWord;
use crate::sync::AtomicU64;
use crate::testing::hooks::before_modification;
use crate::testing::{TestMachine, become_cpu};
use crate::vm::Vm;
use core::sync::atomic::Ordering::Relaxed;
use std::boxed::Box;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Nothing takes as long as this.
const PATIENCE: Duration = Duration::from_secs(60);
const ORDER: u8 = 2;
const PAGES: u64 = 1 << ORDER;

fn address_of(word: &AtomicU64<TestMachine>) -> usize {
    core::ptr::from_ref(word).addr()
}

fn boot() -> &'static Vm<TestMachine> {
    become_cpu(0);
    let machine: TestMachine = TestMachine::with(&[(0x100, 1000, 0)], &[0, 0]);
    Box::leak(Box::new(Vm::new(machine).expect("a machine that boots")))
}

/// A folio in the swap cache, with a reference besides, whose slots are named by an entry each: its head, and the first
/// slot.
fn cached(cx: &Cx<'_, TestMachine>) -> (Pfn, SwapSlot) {
    let head = cx.alloc_folio_on(0, ORDER).expect("memory");
    let (frame, first) = (cx.vm().physical().frame(head), cx.swap_reserve_run(ORDER).expect("slots"));
    frame.be_anonymous(ORDER, 1, 0);
    frame.words[2].store(0, Relaxed);
    frame.set_counts(1, 0);
    cx.swap_attach(first, head);
    cx.swap_dup_run(first, PAGES).expect("counts");
    (head, first)
}

/// Those slots of a folio that no entry names end with it, wherever they stand, and no others.
#[test]
fn slots_that_are_named_stay() {
    let vm = boot();
    let area = vm.swap_on_memory(64, 0).expect("an area");
    let cx = Cx::enter(vm);
    for unnamed in 0..1u64 << PAGES {
        let (head, first) = cached(&cx);
        let is_named = |page: &u64| unnamed >> page & 1 == 0;
        (0..PAGES).filter(|page| !is_named(page)).for_each(|page| _ = cx.swap_put(first.further(page)));
        assert_eq!(cx.swap_run_is_unnamed(first, PAGES), !(0..PAGES).any(|page| is_named(&page)));
        assert!(cx.swap_detach(first, head, 0));
        let counts = [0, 1, 2, 3].map(|page| cx.swap_count(first.further(page)));
        assert_eq!(counts, [0, 1, 2, 3].map(|page| u32::from(is_named(&page))), "{unnamed:b}");
        assert_eq!(vm.area_used(area), (0..PAGES).filter(is_named).count() as u64, "{unnamed:b}");
        (0..PAGES).filter(is_named).for_each(|page| _ = cx.swap_put(first.further(page)));
        (0..2).for_each(|_| release(&cx, head));
        assert_eq!(vm.area_used(area), 0);
    }
}

/// Whoever finds that a slot of a run was taken meanwhile gives back those that he has, and takes another run.
#[test]
fn what_is_no_run_any_more_stays_free() {
    let vm = boot();
    vm.swap_on_memory(64, 0).expect("an area");
    let cx = Cx::enter(vm);
    let next = cx.swap_reserve_run(ORDER).expect("slots").further(PAGES);
    let taken = next.further(2);
    let word = |slot| cx.swap_place(slot).expect("a slot").word;
    let take = move || {
        become_cpu(1);
        Cx::enter(vm).swap_place(taken).expect("a slot").word.store(SlotWord::RESERVED.0, Relaxed);
    };
    before_modification(address_of(word(taken)), move || thread::spawn(take).join().expect("no panic"));
    assert_eq!(cx.swap_reserve_run(ORDER), Some(next.further(PAGES)));
    let words = [0, 1, 2, 3].map(|page| word(next.further(page)).load(Relaxed));
    assert_eq!(words, [SlotWord::FREE, SlotWord::FREE, SlotWord::RESERVED, SlotWord::FREE].map(|word| word.0));
}

/// Of a folio's four slots the last one ends with it. The first, which goes on, is about to end just then, by who has
/// dropped its last entry: it ends once.
#[test]
fn a_slot_of_a_folio_ends_once() {
    let vm = boot();
    let area = vm.swap_on_memory(64, 0).expect("an area");
    let cx = Cx::enter(vm);
    let (head, first) = cached(&cx);
    let last = first.further(PAGES - 1);
    cx.swap_put(last);

    let (ending, when_ending) = channel();
    let (go_on, when_told) = channel();
    let drop_first = move || {
        become_cpu(1);
        let cx = Cx::enter(vm);
        let contents = cx.swap_area(first.area()).and_then(|area| area.arrays.contents.get(vm, first.offset()));
        before_modification(address_of(contents.expect("a slot")), move || {
            ending.send(()).expect("who waits for it");
            when_told.recv_timeout(PATIENCE).expect("who tells");
        });
        cx.swap_put(first);
    };
    let (started, other) = channel();
    let last_word = address_of(cx.swap_place(last).expect("a slot").word);
    before_modification(last_word, move || {
        started.send(thread::spawn(drop_first)).expect("the test");
        when_ending.recv_timeout(PATIENCE).expect("the other ends the slot");
    });
    assert!(cx.swap_detach(first, head, 0));
    go_on.send(()).expect("the other waits");
    other.recv_timeout(PATIENCE).expect("it was started").join().expect("no panic");
    assert_eq!(vm.area_used(area), PAGES - 2, "those that entries name");
    let counts = [0, 1, 2, 3].map(|page| cx.swap_count(first.further(page)));
    assert_eq!((counts, vm.swap_usage().cached), ([0, 1, 1, 0], 0));
    let area = cx.swap_area(first.area()).expect("an area");
    assert_eq!(area.used_in_cluster(vm, first.offset() / CLUSTER), PAGES - 2);
    // The cache's reference, and that from the beginning.
    (0..2).for_each(|_| release(&cx, head));
}
