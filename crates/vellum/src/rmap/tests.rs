//! Tests of reverse mapping on a host-backed machine: walks find every place, and undoing restores all.

mod generations;

use super::{Name, Placeholder, Seek, Unmapped, unmap, walk};
use crate::arch::{Absent, Arch, PageBits, Prot, Tiny, Word, X86_64};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::{Backing, IoError, Object};
use crate::ops::{Access, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use crate::phys::{Folio, Pfn};
use crate::space::{Space, UnmapBatch};
use crate::stat::Event;
use crate::testing::user::{load, store};
use crate::testing::{TestMachine, become_cpu, may_sleep};
use crate::vm::Vm;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;
use std::thread;
use std::vec::Vec;

const PAGE: u64 = 4096;

type TestSpace<'vm, A> = Space<'vm, TestMachine<A>>;

fn boot<A: Arch>() -> Vm<TestMachine<A>> {
    become_cpu(0);
    let vm = Vm::new(TestMachine::with(&[(0x100, 3000, 0)], &[0]).with_compressor()).expect("a machine that boots");
    vm.set_compressed_limit(100);
    vm
}

/// A file of one byte.
struct Ones;

impl Backing for Ones {
    fn length(&self) -> u64 {
        may_sleep("Backing::length");
        16 * PAGE
    }

    fn read(&self, _index: u64, page: &mut [u8]) -> Result<(), IoError> {
        may_sleep("Backing::read");
        page.fill(1);
        Ok(())
    }

    fn write(&self, _index: u64, _page: &[u8]) -> Result<(), IoError> {
        may_sleep("Backing::write");
        Ok(())
    }
}

fn page_at<A: Arch>(space: &TestSpace<'_, A>, address: u64) -> Pfn {
    space.translate(address).expect("a page").pfn
}

/// The places at which a page is found, and how many it says there are.
fn places<A: Arch>(vm: &Vm<TestMachine<A>>, pfn: Pfn) -> (Vec<(u64, u64)>, u32) {
    let cx = Cx::enter(vm);
    let frame = vm.physical().frame(pfn);
    let name = Name::of(frame).expect("a named page");
    let mut found = Vec::new();
    let _ = walk(&cx, &name, &Seek::page(Folio::single(pfn)), &mut |place| {
        found.push((place.space.id(), place.address));
        ControlFlow::Continue(())
    });
    found.sort_unstable();
    (found, frame.mappings())
}

fn check<A: Arch>(vm: &Vm<TestMachine<A>>, pfn: Pfn, expected: &[(&TestSpace<'_, A>, u64)]) {
    let mut expected: Vec<_> = expected.iter().map(|(space, address)| (space.id(), *address)).collect();
    expected.sort_unstable();
    let count = expected.len() as u32;
    assert_eq!(places(vm, pfn), (expected, count));
    vm.audited().expect("a sound machine");
}

fn shift<A: Arch>(space: &TestSpace<'_, A>, old: u64, pages: u64, new: u64) {
    let (old_length, new_length) = (pages * PAGE, pages * PAGE);
    let request = RemapRequest { old, old_length, new_length, place: RemapPlace::Fixed(new), keep_old: false };
    space.remap(&request).expect("room");
}

fn map<A: Arch>(space: &TestSpace<'_, A>, at: u64, pages: u64) {
    let request = MapRequest::anonymous(pages * PAGE, Prot::READ_WRITE).at(Place::Fixed(at));
    space.map(&request).expect("room");
    (0..pages).for_each(|page| store(space, at + page * PAGE, page as u8 + 1).expect("memory"));
}

const A0: u64 = 16 * PAGE;
const B0: u64 = 30 * PAGE;
const C0: u64 = 44 * PAGE;

fn forks_and_moves<A: Arch>() {
    let vm = boot::<A>();
    let parent = vm.create_space().expect("memory");
    map(&parent, A0, 4);
    let pfn = page_at(&parent, A0 + PAGE);
    check(&vm, pfn, &[(&parent, A0 + PAGE)]);
    shift(&parent, A0, 4, B0);
    check(&vm, pfn, &[(&parent, B0 + PAGE)]);
    let child = parent.fork().expect("memory");
    check(&vm, pfn, &[(&parent, B0 + PAGE), (&child, B0 + PAGE)]);
    // Twice, and in the child too; then its child has it there.
    shift(&parent, B0, 4, C0);
    shift(&child, B0, 2, A0 + 8 * PAGE);
    let grandchild = child.fork().expect("memory");
    shift(&grandchild, A0 + 8 * PAGE, 2, C0 + 9 * PAGE);
    let all = [(&parent, C0 + PAGE), (&child, A0 + 9 * PAGE), (&grandchild, C0 + 10 * PAGE)];
    check(&vm, pfn, &all);
    // Back to where it was made: nothing says how far it was moved.
    shift(&parent, C0, 4, A0);
    check(&vm, pfn, &[(&parent, A0 + PAGE), all[1], all[2]]);
    store(&child, A0 + 9 * PAGE, 9).expect("memory");
    check(&vm, pfn, &[(&parent, A0 + PAGE), all[2]]);
    let copy = page_at(&child, A0 + 9 * PAGE);
    check(&vm, copy, &[(&child, A0 + 9 * PAGE)]);
}

#[test]
fn pages_are_found_after_forks_and_moves() {
    forks_and_moves::<X86_64>();
    forks_and_moves::<Tiny>();
}

#[test]
fn pages_are_found_when_generations_between_are_dead() {
    let vm = boot::<X86_64>();
    let parent = vm.create_space().expect("memory");
    map(&parent, A0, 2);
    let child = parent.fork().expect("memory");
    store(&child, A0 + PAGE, 7).expect("memory");
    let grandchild = child.fork().expect("memory");
    let (old, new) = (page_at(&grandchild, A0), page_at(&grandchild, A0 + PAGE));
    drop(child);
    check(&vm, old, &[(&parent, A0), (&grandchild, A0)]);
    check(&vm, new, &[(&grandchild, A0 + PAGE)]);
    drop(parent);
    vm.quiesce();
    let sibling = grandchild.fork().expect("memory");
    check(&vm, old, &[(&sibling, A0), (&grandchild, A0)]);
    drop(grandchild);
    vm.quiesce();
    check(&vm, old, &[(&sibling, A0)]);
    check(&vm, new, &[(&sibling, A0 + PAGE)]);
}

#[test]
fn a_space_of_its_own_line_has_its_own_pages() {
    let vm = boot::<X86_64>();
    let parent = vm.create_space().expect("memory");
    map(&parent, A0, 1);
    // As exec makes it: the same addresses, and nothing of the parent's.
    let child = vm.create_space().expect("memory");
    map(&child, A0, 1);
    check(&vm, page_at(&parent, A0), &[(&parent, A0)]);
    check(&vm, page_at(&child, A0), &[(&child, A0)]);
}

#[test]
fn pages_of_files_and_their_copies_are_found() {
    let vm = boot::<Tiny>();
    let file = vm.file(Ones).expect("memory");
    let parent = vm.create_space().expect("memory");
    for (at, sharing) in [(A0, Sharing::Private), (B0, Sharing::Shared), (C0, Sharing::Private)] {
        let request = MapRequest::object(&file, 2 * PAGE, sharing, 4 * PAGE, Prot::READ_WRITE).at(Place::Fixed(at));
        parent.map(&request).expect("room");
        load(&parent, at + PAGE).expect("memory");
    }
    let pfn = page_at(&parent, A0 + PAGE);
    check(&vm, pfn, &[(&parent, A0 + PAGE), (&parent, B0 + PAGE), (&parent, C0 + PAGE)]);
    // The same offset in the same object twice: copies are told apart by their frames.
    store(&parent, A0 + PAGE, 5).expect("memory");
    store(&parent, C0 + PAGE, 6).expect("memory");
    let copies = [page_at(&parent, A0 + PAGE), page_at(&parent, C0 + PAGE)];
    check(&vm, pfn, &[(&parent, B0 + PAGE)]);
    let child = parent.fork().expect("memory");
    shift(&child, A0, 4, A0 + 20 * PAGE);
    check(&vm, copies[0], &[(&parent, A0 + PAGE), (&child, A0 + 21 * PAGE)]);
    check(&vm, copies[1], &[(&parent, C0 + PAGE), (&child, C0 + PAGE)]);
}

/// Something moves whenever the walk has looked, as long as that is not held back.
#[test]
fn a_walk_ends_beside_moves_without_end() {
    let vm = boot::<X86_64>();
    let space = vm.create_space().expect("memory");
    map(&space, A0, 1);
    let cx = Cx::enter(&vm);
    let name = Name::of(vm.physical().frame(page_at(&space, A0))).expect("a named page");
    let mut visits = 0;
    let _ = walk(&cx, &name, &Seek::page(Folio::single(page_at(&space, A0))), &mut |_| {
        visits += 1;
        assert!(visits < 100, "the walk goes on");
        if space.inner().moves_held_back() == 0 {
            space.inner().moves_begun.fetch_add(1, SeqCst);
            space.inner().moves_done.fetch_add(1, SeqCst);
        }
        ControlFlow::Continue(())
    });
    assert_eq!((visits, space.inner().moves_held_back()), (3, 0));
}

#[test]
fn moves_wait_while_a_walk_holds_them_back() {
    become_cpu(0);
    let vm = Vm::<TestMachine>::new(TestMachine::with(&[(0x100, 3000, 0)], &[0; 2])).expect("a machine that boots");
    let space = vm.create_space().expect("memory");
    map(&space, A0, 1);
    let held_back = space.inner().hold_moves_back();
    thread::scope(|scope| {
        scope.spawn(|| {
            become_cpu(1);
            shift(&space, A0, 1, B0);
        });
        thread::sleep(Duration::from_millis(20));
        assert!(space.translate(A0).is_some(), "it has moved");
        drop(held_back);
    });
    assert!(space.translate(A0).is_none() && space.translate(B0).is_some());
}

#[test]
fn a_walk_ends_where_it_is_broken_off() {
    let vm = boot::<X86_64>();
    let parent = vm.create_space().expect("memory");
    map(&parent, A0, 1);
    let children: Vec<_> = (0..5).map(|_| parent.fork().expect("memory")).collect();
    let pfn = page_at(&parent, A0);
    assert_eq!(places(&vm, pfn).1, 6);
    let cx = Cx::enter(&vm);
    let name = Name::of(vm.physical().frame(pfn)).expect("a named page");
    for limit in 1..=6 {
        let mut seen = 0;
        let flow = walk(&cx, &name, &Seek::page(Folio::single(pfn)), &mut |_| {
            seen += 1;
            if seen == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((seen, flow), (limit, ControlFlow::Break(())));
    }
    drop(cx);
    drop(children);
    check(&vm, pfn, &[(&parent, A0)]);
}

/// The words of the entries at `address` of some spaces.
fn words<A: Arch>(spaces: &[&TestSpace<'_, A>], address: u64) -> Vec<Word<A>> {
    let word = |space: &&TestSpace<'_, A>| {
        let cx = Cx::enter(space.vm());
        let leaf = space.inner().lowest(&cx, address);
        leaf.entry(leaf.index(address))
    };
    spaces.iter().map(word).collect()
}

/// Unmaps a page and puts it back, with `is_shared` and without: entries, counts and marks are as before.
fn undo<A: Arch>(is_shared: bool, is_clean: bool, into_slot: bool, is_dropped: bool) {
    let vm = boot::<A>();
    vm.swap_on_memory(50, 0).expect("an area");
    let parent = vm.create_space().expect("memory");
    map(&parent, A0, 3);
    let children: Vec<_> = (0..if is_shared { 2 } else { 0 }).map(|_| parent.fork().expect("memory")).collect();
    let address = A0 + PAGE;
    if is_clean {
        // As if it had been read from swap just now.
        parent.protect(A0, 3 * PAGE, Prot::READ).expect("rights");
    }
    let spaces: Vec<_> = core::iter::once(&parent).chain(&children).collect();
    let pfn = page_at(&parent, address);
    let frame = vm.physical().frame(pfn);
    let state = |spaces: &[&TestSpace<'_, A>]| {
        let rss: Vec<_> = spaces.iter().map(|space| space.rss()).collect();
        (words(spaces, address), rss, frame.mappings(), frame.references())
    };
    let before = state(&spaces);
    frame.get();
    assert!(frame.folio_lock().try_acquire());
    let slot = into_slot.then(|| {
        let cx = Cx::enter(&vm);
        let slot = cx.swap_reserve().expect("a free slot");
        cx.swap_attach(slot, pfn);
        slot
    });
    {
        let cx = Cx::enter(&vm);
        let mut batch = UnmapBatch::new(&cx);
        let into = slot.map_or(Placeholder::Migration, Placeholder::Slot);
        assert!(unmap(&cx, &mut batch, pfn, into), "all places are found");
        let unmapped = Unmapped::of(&vm, pfn, into);
        batch.flush();
        for word in words(&spaces, address) {
            match (word.absent(), slot) {
                (Some(Absent::Swap { slot: named, is_exclusive }), Some(slot)) => {
                    assert_eq!((named, is_exclusive), (slot, !is_shared));
                }
                (Some(Absent::Migration { pfn: named, is_exclusive, .. }), None) => {
                    assert_eq!((named, is_exclusive), (pfn, !is_shared));
                }
                other => panic!("{other:?}"),
            }
        }
        if let Some(slot) = slot {
            assert_eq!(cx.swap_count(slot) as usize, spaces.len());
        }
        drop(batch);
        if is_dropped {
            drop(cx);
            drop(unmapped);
        } else {
            unmapped.undo(&cx);
        }
    }
    let cx = Cx::enter(&vm);
    if let Some(slot) = slot {
        assert_eq!(cx.swap_count(slot), 0);
        assert!(cx.swap_detach(slot, pfn, 0));
        frame.put();
    }
    frame.folio_lock().release(&vm);
    crate::object::release(&cx, pfn);
    drop(cx);
    let after = state(&spaces);
    // Accessed and dirty marks may be gone from entries that were in swap; the page itself knows of stores.
    let rights = |words: &[Word<A>]| -> Vec<_> {
        let bits = |word: Word<A>| word.bits().without(PageBits::ACCESSED | PageBits::DIRTY);
        words.iter().map(|word| (word.pfn(), bits(*word))).collect()
    };
    assert_eq!((rights(&after.0), after.1, after.2, after.3), (rights(&before.0), before.1, before.2, before.3));
    assert!(into_slot || after.0 == before.0, "a migration puts marks back too");
    vm.audited().expect("a sound machine");
    if !is_clean {
        spaces.iter().for_each(|space| store(space, address, 9).expect("memory"));
    }
    assert_eq!(load(&parent, address), Ok(if is_clean { 2 } else { 9 }));
}

#[test]
fn undoing_restores_entries_counts_and_marks() {
    for number in 0..16 {
        let [is_shared, is_clean, into_slot, is_dropped] = [1, 2, 4, 8].map(|bit| number & bit != 0);
        undo::<X86_64>(is_shared, is_clean, into_slot, is_dropped);
        undo::<Tiny>(is_shared, is_clean, into_slot, is_dropped);
    }
}

#[test]
fn accessed_marks_are_taken_from_all_entries() {
    let vm = boot::<X86_64>();
    let parent = vm.create_space().expect("memory");
    map(&parent, A0, 1);
    let child = parent.fork().expect("memory");
    let pfn = page_at(&parent, A0);
    for space in [&parent, &child] {
        space.fault(A0, Access::Read).expect("memory");
    }
    let frame = vm.physical().frame(pfn);
    frame.get();
    assert!(frame.folio_lock().try_acquire());
    let cx = Cx::enter(&vm);
    assert_eq!((super::take_accessed(&cx, pfn), super::take_accessed(&cx, pfn)), (2, 0));
    frame.folio_lock().release(&vm);
    crate::object::release(&cx, pfn);
    let _ = vm.machine().now();
}

/// A page of a file that cannot be taken out of all its entries, since one is on its way out elsewhere: of those that
/// it was taken out of no flush is owed any more when the caller goes on, and gives up the folio lock.
#[test]
fn what_a_failed_unmapping_has_taken_is_flushed() {
    let vm = boot::<X86_64>();
    let file = vm.file(Ones).expect("memory");
    let space = vm.create_space().expect("memory");
    let request = MapRequest::object(&file, 0, Sharing::Shared, PAGE, Prot::READ_WRITE).at(Place::Fixed(A0));
    space.map(&request).expect("room");
    store(&space, A0, 5).expect("memory");
    let pfn = page_at(&space, A0);
    let frame = vm.physical().frame(pfn);
    // What munmap has in its hands counts as a mapping until it has flushed.
    frame.add_mapping();
    frame.get();
    assert!(frame.folio_lock().try_acquire());
    let (is_refused, is_owed) = {
        let cx = Cx::enter(&vm);
        let mut batch = UnmapBatch::new(&cx);
        let is_refused = !unmap(&cx, &mut batch, pfn, Placeholder::Nothing);
        let leaf = space.inner().lowest(&cx, A0);
        let locked = leaf.lock(&cx, space.inner(), A0).expect("a leaf in use");
        (is_refused, locked.has_pending_flush(Guard::SettledByZap))
    };
    frame.drop_mapping();
    frame.folio_lock().release(&vm);
    crate::object::release(&Cx::enter(&vm), pfn);
    assert!(is_refused && words(&[&space], A0) == [Word::EMPTY], "one entry was taken, and one not found");
    assert!(!is_owed, "the flush of the one is owed still");
    vm.audited().expect("a sound machine");
}

/// A19: of the faults in a leaf to which a batch owes a flush, one flushes. What the batch takes afterwards is owed
/// anew, and again once; when the batch has flushed, nothing is.
#[test]
fn a_leaf_is_settled_once() {
    become_cpu(0);
    let vm = Vm::new(TestMachine::<X86_64>::with(&[(0x100, 3000, 0)], &[0, 0])).expect("a machine that boots");
    let space = vm.create_space().expect("memory");
    map(&space, A0, 20);
    let untouched = A0 + 20 * PAGE;
    let request = MapRequest::anonymous(20 * PAGE, Prot::READ_WRITE).at(Place::Fixed(untouched));
    space.map(&request).expect("room");
    let settled = || vm.totals().get(Event::BatchSettled);
    let faults = |pages: core::ops::Range<u64>| {
        become_cpu(1);
        pages.for_each(|page| store(&space, untouched + page * PAGE, 5).expect("memory"));
        become_cpu(0);
    };
    let pages: Vec<_> = (0..2).map(|page| page_at(&space, A0 + page * PAGE)).collect();
    for &pfn in &pages {
        vm.physical().frame(pfn).get();
        assert!(vm.physical().frame(pfn).folio_lock().try_acquire());
    }
    let cx = Cx::enter(&vm);
    let mut batch = UnmapBatch::new(&cx);
    let mut taken = Vec::new();
    for (times, &pfn) in pages.iter().enumerate() {
        let times = times as u64;
        assert!(unmap(&cx, &mut batch, pfn, Placeholder::Migration), "all places are found");
        taken.push(Unmapped::of(&vm, pfn, Placeholder::Migration));
        assert_eq!(settled(), times, "who takes does not flush");
        faults(times * 5..times * 5 + 5);
        assert_eq!(settled(), times + 1, "five faults after the batch took page {times}");
    }
    batch.flush();
    faults(10..15);
    assert_eq!(settled(), 2, "nothing is owed any more");
    taken.into_iter().for_each(|unmapped| unmapped.undo(&cx));
    drop(batch);
    for &pfn in &pages {
        vm.physical().frame(pfn).folio_lock().release(&vm);
        crate::object::release(&cx, pfn);
    }
    drop(cx);
    assert_eq!((load(&space, A0), load(&space, untouched + 7 * PAGE)), (Ok(1), Ok(5)));
    vm.audited().expect("a sound machine");
}

/// Write-back leaves no entry of a page with a dirty mark, nor with the right to store, which is how the next store is
/// noticed.
#[test]
fn write_back_makes_every_entry_clean() {
    let vm = boot::<X86_64>();
    let file = vm.file(Ones).expect("memory");
    let parent = vm.create_space().expect("memory");
    for at in [A0, B0] {
        let request = MapRequest::object(&file, 0, Sharing::Shared, PAGE, Prot::READ_WRITE).at(Place::Fixed(at));
        parent.map(&request).expect("room");
    }
    let child = parent.fork().expect("memory");
    let spaces = [&parent, &child];
    for at in [A0, B0] {
        spaces.iter().for_each(|space| store(space, at, 5).expect("memory"));
    }
    assert_eq!(file.write_back(), Ok(1));
    for word in [A0, B0].iter().flat_map(|&at| words(&spaces, at)) {
        let bits = word.bits();
        assert!(word.is_page() && !bits.has(PageBits::DIRTY) && !bits.has(PageBits::WRITE), "{word:?}");
    }
}

/// Maps four pages of the file at two places of a space, with rights changed in the middle and a piece moved away and
/// back: several classes lead to the same places.
fn map_in_pieces<'vm>(space: &TestSpace<'vm, X86_64>, file: &Object<'vm, TestMachine>) {
    for at in [A0, B0] {
        let request = MapRequest::object(file, 0, Sharing::Shared, 4 * PAGE, Prot::READ_WRITE).at(Place::Fixed(at));
        space.map(&request).expect("room");
        space.protect(at + PAGE, PAGE, Prot::READ).expect("rights");
        space.protect(at + 3 * PAGE, PAGE, Prot::NONE).expect("rights");
        shift(space, at + 2 * PAGE, 1, C0);
        shift(space, C0, 1, at + 2 * PAGE);
    }
}

/// F16: a place to which several classes lead is visited once, and all the others too.
#[test]
fn a_place_of_several_classes_is_visited_once() {
    let vm = boot::<X86_64>();
    let file = vm.file(Ones).expect("memory");
    let spaces: Vec<_> = (0..3).map(|_| vm.create_space().expect("memory")).collect();
    for space in &spaces {
        map_in_pieces(space, &file);
        for at in [A0, B0] {
            store(space, at, 5).expect("memory");
            store(space, at + 2 * PAGE, 5).expect("memory");
        }
    }
    for page in [0, 2 * PAGE] {
        let places: Vec<_> = spaces.iter().flat_map(|space| [(space, A0 + page), (space, B0 + page)]).collect();
        check(&vm, page_at(&spaces[0], A0 + page), &places);
    }
    assert_eq!(file.write_back(), Ok(2));
    let spaces: Vec<_> = spaces.iter().collect();
    for word in [A0, A0 + 2 * PAGE, B0, B0 + 2 * PAGE].iter().flat_map(|&at| words(&spaces, at)) {
        let bits = word.bits();
        assert!(word.is_page() && !bits.has(PageBits::DIRTY | PageBits::WRITE), "{word:?}");
    }
}
