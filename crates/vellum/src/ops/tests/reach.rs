//! The kernel reaches into a program's memory.

use super::{PAGE, vm};
use crate::arch::{Arch, PageBits, Prot, Sparc64, Tiny, X86_64};
use crate::object::{Backing, IoError};
use crate::ops::{Access, Advice, FaultError, MapRequest, Sharing, WordError};
use crate::sync::Modify;
use crate::testing::{TestMachine, become_cpu};
use crate::{Space, SwapDevice, Vm};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::vec;
use std::vec::Vec;

/// Pages on a disk, or in a file.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<BTreeMap<u64, Vec<u8>>>>);

impl Disk {
    fn read_page(&self, index: u64, page: &mut [u8]) {
        match self.0.lock().unwrap().get(&index) {
            Some(contents) => page.copy_from_slice(contents),
            None => page.fill(0),
        }
    }

    fn write_page(&self, index: u64, page: &[u8]) {
        self.0.lock().unwrap().insert(index, page.to_vec());
    }
}

impl SwapDevice for Disk {
    fn pages(&self) -> u64 {
        512
    }
    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        self.read_page(page, into);
        Ok(())
    }
    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        self.write_page(page, from);
        Ok(())
    }
}

impl Backing for Disk {
    fn length(&self) -> u64 {
        2 * PAGE
    }
    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        self.read_page(index, page);
        Ok(())
    }
    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        self.write_page(index, page);
        Ok(())
    }
}

fn bits<A: Arch>(space: &Space<'_, TestMachine<A>>, address: u64) -> PageBits {
    space.translate(address).expect("a page").bits
}

fn copies<A: Arch>() {
    let vm = vm::<A>();
    let space = vm.create_space().expect("a space");
    let page = 1u64 << A::PAGE_SHIFT;
    let at = space.map(&MapRequest::anonymous(4 * page, Prot::READ_WRITE)).expect("a mapping");
    let text: Vec<u8> = (0..2 * page as usize + 11).map(|byte| (byte * 7 + byte / 251) as u8).collect();
    // Every alignment of both sides, over the edges of pages.
    for offset in 0..9 {
        let to = at + page - 5 + offset;
        space.copy_out(to, &text[offset as usize..]).expect("room");
        let mut read = vec![0xee; text.len() - offset as usize + 2];
        space.copy_in(to - 1, &mut read).expect("it is there");
        assert_eq!(read[1..read.len() - 1], text[offset as usize..], "{} at offset {offset}", A::NAME);
    }
    space.clear(at + page - 3, page + 7).expect("room");
    let mut read = vec![1; page as usize + 9];
    space.copy_in(at + page - 4, &mut read).expect("it is there");
    assert!(read[1..read.len() - 1].iter().all(|&byte| byte == 0), "{}", A::NAME);
    assert!(read[0] != 0 && read[read.len() - 1] != 0, "{}: what lies beside is not cleared", A::NAME);
    assert_eq!(space.rss().anonymous, 4);
    drop(space);
    vm.quiesce();
    vm.audited().expect("a clean audit");
}

#[test]
fn bytes_are_copied_whatever_their_alignment() {
    copies::<X86_64>();
    copies::<Tiny>();
    copies::<Sparc64>();
}

#[test]
fn loads_by_the_kernel_bring_no_page_and_mark_it_accessed() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let at = space.map(&MapRequest::anonymous(2 * PAGE, Prot::READ_WRITE)).expect("a mapping");
    let mut read = [1; 8];
    space.copy_in(at, &mut read).expect("zeroes");
    assert_eq!((read, space.rss().anonymous), ([0; 8], 0));
    space.copy_out(at, &[5]).expect("a page");
    assert!(bits(&space, at).has(PageBits::DIRTY | PageBits::ACCESSED));
    assert_eq!(space.load_word::<u32>(at), Ok(5));
}

/// An entry that the hardware never saw used says what the kernel did.
#[test]
fn the_entry_says_what_the_kernel_did() {
    let vm = vm::<X86_64>();
    let disk = Disk::default();
    vm.swap_on(disk, 0).expect("an area");
    let space = vm.create_space().expect("a space");
    let at = space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE)).expect("a mapping");
    space.copy_out(at, &[1]).expect("a page");
    for (access, is_dirty) in [(Access::Read, false), (Access::Write, true)] {
        space.advise(at, PAGE, Advice::PageOut).expect("swap");
        assert_eq!(space.rss().swapped, 1);
        space.fault(at, Access::Read).expect("it comes back");
        space.advise(at, PAGE, Advice::Cold).expect("it is not used");
        assert!(!bits(&space, at).has(PageBits::DIRTY));
        match access {
            Access::Write => space.copy_out(at, &[2]).expect("a store"),
            _ => space.copy_in(at, &mut [0]).expect("a load"),
        }
        assert!(bits(&space, at).has(PageBits::ACCESSED), "{access:?}");
        assert_eq!(bits(&space, at).has(PageBits::DIRTY), is_dirty, "{access:?}");
    }
    space.advise(at, PAGE, Advice::PageOut).expect("swap");
    assert_eq!(space.load_word::<u32>(at), Ok(2));
}

#[test]
fn copies_end_where_the_program_may_not_go() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let at = space.map(&MapRequest::anonymous(3 * PAGE, Prot::READ_WRITE)).expect("a mapping");
    space.copy_out(at + PAGE - 2, &[1; 4]).expect("two pages");
    space.protect(at + PAGE, PAGE, Prot::READ).expect("a change");
    space.protect(at + 2 * PAGE, PAGE, Prot::NONE).expect("a change");
    let denied = |address| Err(FaultError::Segv { address, denied: true });
    let absent = |address| Err(FaultError::Segv { address, denied: false });
    assert_eq!(space.copy_out(at + PAGE - 2, &[2; 4]), denied(at + PAGE));
    assert_eq!(space.clear(at + PAGE, 1), denied(at + PAGE));
    let mut read = [9; 4];
    space.copy_in(at + PAGE - 2, &mut read).expect("it may be read");
    assert_eq!(read, [2, 2, 1, 1]);
    let mut read = [9; 4];
    assert_eq!(space.copy_in(at + 2 * PAGE - 2, &mut read), denied(at + 2 * PAGE));
    assert_eq!(read, [0, 0, 9, 9]);
    // Beyond the mapping, the edges of the user range, and of all addresses.
    assert_eq!(space.copy_in(at + 3 * PAGE + 7, &mut read), absent(at + 3 * PAGE + 7));
    assert_eq!(space.copy_in(0, &mut read), absent(0));
    assert_eq!(space.copy_in(X86_64::USER_END, &mut read), absent(X86_64::USER_END));
    assert_eq!(space.copy_out(u64::MAX - 1, &[0; 4]), absent(u64::MAX - 1));
    assert_eq!(space.clear(u64::MAX, u64::MAX), absent(u64::MAX));
    let below = space.clear(X86_64::USER_END - PAGE, u64::MAX);
    assert_eq!(below, absent(X86_64::USER_END - PAGE));
    // Nothing is copied from anywhere.
    assert_eq!((space.copy_in(u64::MAX, &mut []), space.copy_out(0, &[]), space.clear(0, 0)), (Ok(()), Ok(()), Ok(())));
    vm.audited().expect("a clean audit");
}

#[test]
fn words_are_changed_atomically() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let at = space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE)).expect("a mapping");
    assert_eq!(space.load_word::<u64>(at + 8), Ok(0));
    assert_eq!(space.update_word(at + 4, Modify::Add(7u32)), Ok(Ok(0)));
    assert_eq!(space.load_word::<u64>(at), Ok(7 << 32));
    assert_eq!(space.update_word(at + 4, Modify::CompareExchange { current: 6u32, new: 1 }), Ok(Err(7)));
    assert_eq!(space.update_word(at + 4, Modify::CompareExchange { current: 7u32, new: 1 }), Ok(Ok(7)));
    assert_eq!(space.update_word(at, Modify::Swap(3u64)), Ok(Ok(1 << 32)));
    assert_eq!(space.load_word::<u32>(at + 2), Err(WordError::Unaligned { address: at + 2 }));
    assert_eq!(space.update_word(at + 4, Modify::Or(1u64)), Err(WordError::Unaligned { address: at + 4 }));
    space.protect(at, PAGE, Prot::READ).expect("a change");
    let denied = WordError::Fault(FaultError::Segv { address: at, denied: true });
    assert_eq!(space.update_word(at, Modify::And(0u32)), Err(denied));
    // Even if it would not have stored.
    assert_eq!(space.update_word(at, Modify::CompareExchange { current: 9u32, new: 1 }), Err(denied));
    assert_eq!(space.load_word::<u32>(at), Ok(3));
}

#[test]
fn what_the_kernel_stores_to_a_file_is_written_back() {
    let disk = Disk::default();
    let vm = vm::<X86_64>();
    let file = vm.file(disk.clone()).expect("an object");
    let space = vm.create_space().expect("a space");
    let map = |sharing| MapRequest::object(&file, 0, sharing, 2 * PAGE, Prot::READ_WRITE);
    let shared = space.map(&map(Sharing::Shared)).expect("a mapping");
    let private = space.map(&map(Sharing::Private)).expect("a mapping");
    space.copy_out(private, b"mine").expect("a copy");
    space.copy_out(shared + PAGE - 2, b"file").expect("both pages");
    assert_eq!(file.write_back(), Ok(2));
    space.copy_out(shared, b"more").expect("the page is there");
    assert_eq!(file.write_back(), Ok(1));
    let pages = disk.0.lock().unwrap().clone();
    assert_eq!((&pages[&0][..4], &pages[&0][4094..], &pages[&1][..2]), (&b"more"[..], &b"fi"[..], &b"le"[..]));
    let mut read = [0; 4];
    space.copy_in(private, &mut read).expect("the copy");
    assert_eq!(&read, b"mine");
}

/// Says that it is over when it is dropped, even by a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Finding D9: stores through `translate` and `frame` were lost to swap, two of three.
#[test]
fn no_store_of_the_kernel_is_lost_to_reclaim() {
    const PAGES: u64 = 32;
    const ROUNDS: u64 = 60;
    become_cpu(0);
    let vm: Vm<TestMachine> = Vm::new(TestMachine::with(&[(0x100, 4096, 0)], &[0, 0])).expect("a machine");
    vm.swap_on(Disk::default(), 0).expect("an area");
    let space = vm.create_space().expect("a space");
    let at = space.map(&MapRequest::anonymous(PAGES * PAGE, Prot::READ_WRITE)).expect("a mapping");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = Ends(&is_over);
        scope.spawn(|| {
            become_cpu(1);
            while !is_over.load(Relaxed) {
                let _ = space.advise(at, PAGES * PAGE, Advice::PageOut);
                thread::yield_now();
            }
        });
        for round in 0..ROUNDS {
            for page in 0..PAGES {
                let bytes = (round << 32 | page).to_ne_bytes();
                space.copy_out(at + page * PAGE + 4 + (page & 7), &bytes).expect("a store");
                assert_eq!(space.update_word(at + page * PAGE + 32, Modify::Add(1u32)), Ok(Ok(round as u32)));
            }
            for page in 0..PAGES {
                let mut bytes = [0; 8];
                space.copy_in(at + page * PAGE + 4 + (page & 7), &mut bytes).expect("a load");
                assert_eq!(u64::from_ne_bytes(bytes), round << 32 | page);
            }
        }
    });
    drop(space);
    vm.quiesce();
    vm.audited().expect("a clean audit");
}
