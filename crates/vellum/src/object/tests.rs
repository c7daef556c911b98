//! Tests of objects on a host-backed machine: the tree against a model, then pages, files, and threads.

mod counted;
mod ending;
mod lookup;
mod punch;

use super::page::{get_page, is_dirty, mark_dirty, read_ahead, wait};
use super::radix::{Reserve, Tree};
use super::{Backing, Dying, Inner, IoError, Object, PageError, release};
use crate::arch::{Prot, X86_64};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::ops::{Advice, FaultError, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use crate::phys::{Kind, Pfn};
use crate::space::Space;
use crate::stat::Event;
use crate::sync::{Rank, RawLock};
use crate::testing::{TestMachine, become_cpu, may_sleep, user};
use crate::vm::Vm;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;
use std::vec::Vec;
use std::{thread, vec};

type TestVm = Vm<TestMachine>;

const PAGE: usize = 4096;
const NEVER: u64 = u64::MAX;
const CPUS: usize = 4;

fn boot(frames: u64) -> TestVm {
    become_cpu(0);
    Vm::new(TestMachine::with(&[(0x100, frames, 0)], &[0; CPUS])).expect("a machine that boots")
}

/// Nothing of the objects is left, and nothing else is broken.
fn check_empty(vm: &TestVm) {
    for cpu in 0..CPUS {
        become_cpu(cpu);
        vm.quiesce();
        Cx::enter(vm).drain_cpu();
    }
    become_cpu(0);
    assert_eq!(vm.objects().len(), 0);
    let audit = vm.physical().audit(vm).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(audit.frames(Kind::File) + audit.frames(Kind::Allocated), 0);
    // A class of slabs keeps one that is empty, and this uses three.
    assert!(audit.frames(Kind::Slab) <= 3, "{} slabs left", audit.frames(Kind::Slab));
}

fn frames(vm: &TestVm, kind: Kind) -> u64 {
    vm.physical().audit(vm).unwrap_or_else(|error| panic!("{error}")).frames(kind)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A file in memory that can fail, and notes what is done to it.
struct TestFile {
    data: Mutex<Vec<u8>>,
    reads: AtomicU64,
    bad_read: AtomicU64,
    bad_write: AtomicU64,
    can_punch: AtomicBool,
    writes: Mutex<Vec<u64>>,
}

impl TestFile {
    fn new(bytes: usize) -> Arc<Self> {
        Arc::new(TestFile {
            data: Mutex::new((0..bytes).map(|at| byte_of(at / PAGE)).collect()),
            reads: AtomicU64::new(0),
            bad_read: AtomicU64::new(NEVER),
            bad_write: AtomicU64::new(NEVER),
            can_punch: AtomicBool::new(false),
            writes: Mutex::new(vec![]),
        })
    }
}

fn byte_of(page: usize) -> u8 {
    (page % 251) as u8 + 1
}

impl Backing for TestFile {
    fn length(&self) -> u64 {
        may_sleep("Backing::length");
        self.data.lock().unwrap().len() as u64
    }

    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        may_sleep("Backing::read");
        thread::yield_now();
        // Careless about what lies beyond the end.
        page.fill(0xee);
        if self.bad_read.load(SeqCst) == index {
            return Err(IoError);
        }
        self.reads.fetch_add(1, SeqCst);
        let data = self.data.lock().unwrap();
        let start = index as usize * PAGE;
        let end = data.len().min(start + PAGE);
        page[..end - start].copy_from_slice(&data[start..end]);
        Ok(())
    }

    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        may_sleep("Backing::write");
        thread::yield_now();
        if self.bad_write.load(SeqCst) == index {
            return Err(IoError);
        }
        let mut data = self.data.lock().unwrap();
        let start = index as usize * PAGE;
        let end = data.len().min(start + PAGE);
        assert!(page[end - start..].iter().all(|&byte| byte == 0), "rubbish beyond the end");
        data[start..end].copy_from_slice(&page[..end - start]);
        self.writes.lock().unwrap().push(index);
        Ok(())
    }

    fn can_punch(&self) -> bool {
        self.can_punch.load(SeqCst)
    }

    fn punch(&self, start: u64, length: u64) -> Result<(), IoError> {
        may_sleep("Backing::punch");
        if self.bad_write.load(SeqCst) == start / PAGE as u64 {
            return Err(IoError);
        }
        let mut data = self.data.lock().unwrap();
        let end = data.len().min((start + length) as usize);
        data.get_mut(start as usize..end).unwrap_or_default().fill(0);
        Ok(())
    }
}

fn get(vm: &TestVm, object: &Object<'_, TestMachine>, index: u64) -> Result<(Pfn, bool), PageError> {
    get_page(vm, object.inner_pointer(), index)
}

fn lookup(vm: &TestVm, object: &Object<'_, TestMachine>, index: u64) -> Option<Pfn> {
    object.inner().lookup(&Cx::enter(vm), index)
}

fn drop_page(vm: &TestVm, pfn: Pfn) {
    release(&Cx::enter(vm), pfn);
}

fn contents(vm: &TestVm, pfn: Pfn) -> Vec<u8> {
    // SAFETY: the tests have a reference to the page, and do not write to it meanwhile.
    unsafe { core::slice::from_raw_parts(vm.machine().frame(pfn), PAGE).to_vec() }
}

/// Stores a byte at each end of the page, as a user would.
fn store(vm: &TestVm, object: &Object<'_, TestMachine>, index: u64, byte: u8) {
    let (pfn, _) = get(vm, object, index).expect("a page");
    for at in [0, PAGE - 1] {
        // SAFETY: the tests have a reference to the page; what races with this reads it by volatile accesses.
        unsafe { vm.machine().frame(pfn).add(at).write_volatile(byte) };
    }
    mark_dirty(vm.physical().frame(pfn));
    drop_page(vm, pfn);
}

#[test]
fn tree_agrees_with_a_model() {
    let vm = boot(8192);
    let cx = Cx::enter(&vm);
    let (tree, lock) = (Tree::<TestMachine>::new(), RawLock::new());
    let (mut model, mut random) = (BTreeMap::new(), Random(0x9e37_79b9));
    for step in 1..3000u64 {
        let index = match step % 5 {
            0 => random.next(),
            1 => u64::MAX - random.below(300),
            _ => random.next() >> (random.below(10) * 6 + 3),
        };
        let mut reserve = Reserve::new(&cx);
        let missing = tree.missing(&cx, index);
        reserve.fill(missing + 2).expect("memory");
        tree.make_slot(&cx, &lock.lock(&cx, Rank::Object), index, &mut reserve).store(step, SeqCst);
        assert_eq!(reserve.len(), 2, "{missing} nodes were said to be missing for {index:#x}");
        assert_eq!(tree.missing(&cx, index), 0);
        model.insert(index, step);
        let other = random.next() >> random.below(64);
        for probe in [index, index ^ 1, index.wrapping_add(64), other] {
            let found = tree.slot(&cx, probe).map_or(0, |slot| slot.load(SeqCst));
            assert_eq!(found, model.get(&probe).copied().unwrap_or(0), "at {probe:#x}");
            let following = model.range(probe..).next().map(|(&index, &word)| (index, word));
            assert_eq!(tree.next(&cx, probe), following, "from {probe:#x}");
        }
    }
    let (mut left, mut nodes): (BTreeSet<u64>, _) = (model.values().copied().collect(), 0);
    while tree.prune(&cx, |word| assert!(left.remove(&word), "{word} is given twice")) {
        nodes += 1;
    }
    assert!(left.is_empty() && nodes > model.len() / 64);
    drop(cx);
    check_empty(&vm);
}

#[test]
fn tree_holds_the_highest_index_from_the_start() {
    let vm = boot(512);
    let cx = Cx::enter(&vm);
    let (tree, lock) = (Tree::<TestMachine>::new(), RawLock::new());
    assert_eq!(tree.next(&cx, 0), None);
    assert!(!tree.prune(&cx, |_| ()));
    for (index, missing) in [(u64::MAX, 11), (0, 10), (63, 0), (64, 1)] {
        assert_eq!(tree.missing(&cx, index), missing);
        let mut reserve = Reserve::new(&cx);
        reserve.fill(missing).expect("memory");
        tree.make_slot(&cx, &lock.lock(&cx, Rank::Object), index, &mut reserve).store(index | 1, SeqCst);
    }
    assert_eq!(tree.next(&cx, 1), Some((63, 63)));
    assert_eq!(tree.next(&cx, 65), Some((u64::MAX, u64::MAX)));
    while tree.prune(&cx, |_| ()) {}
    drop(cx);
    check_empty(&vm);
}

#[test]
fn shared_memory_is_zero_then_what_was_stored() {
    let vm = boot(2048);
    let object = vm.shared_memory_unreserved(1 << 50).expect("an object");
    assert_eq!((object.length(), object.cached_pages()), (1 << 62, 0));
    let mut random = Random(77);
    let mut model = BTreeMap::new();
    for step in 0..1500 {
        let index = random.next() >> (14 + random.below(44));
        assert_eq!(lookup(&vm, &object, index).map(|pfn| drop_page(&vm, pfn)).is_some(), model.contains_key(&index));
        let (pfn, was_read) = get(&vm, &object, index).expect("a page");
        assert!(!was_read);
        assert_eq!(contents(&vm, pfn)[0], model.get(&index).copied().unwrap_or(0));
        assert_eq!(vm.physical().frame(pfn).references(), 2);
        drop_page(&vm, pfn);
        store(&vm, &object, index, step as u8);
        model.insert(index, step as u8);
        if model.len() == 400 {
            break;
        }
    }
    let mut found = vec![];
    object.inner().for_each_page(&Cx::enter(&vm), |index, pfn| found.push((index, contents(&vm, pfn)[PAGE - 1])));
    assert_eq!(found, model.into_iter().collect::<Vec<_>>());
    assert_eq!(object.cached_pages(), found.len() as u64);
    assert_eq!(object.write_back(), Ok(0));
    assert_eq!(get(&vm, &object, 1 << 50), Err(PageError::BeyondEnd { index: 1 << 50 }));
    drop(object);
    check_empty(&vm);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let vm = boot(64);
    assert!(matches!(vm.shared_memory(1 << 51), Err(Error::OutOfRange { .. })));
    assert!(matches!(vm.shared_memory(u64::MAX), Err(Error::OutOfRange { length: u64::MAX, .. })));
    let object = vm.shared_memory_unreserved((1 << 51) - 1).expect("an object");
    drop_page(&vm, get(&vm, &object, (1 << 51) - 2).expect("the last page").0);
    let empty = vm.shared_memory(0).expect("an object");
    assert_eq!(get(&vm, &empty, 0), Err(PageError::BeyondEnd { index: 0 }));
    drop((object, empty));
    check_empty(&vm);
}

#[test]
fn each_failing_allocation_leaves_everything_as_it_was() {
    let vm = boot(256);
    let file = TestFile::new(1 << 20);
    for index in [0, 5, 64, 200] {
        let object = vm.file(file.clone()).expect("an object");
        drop_page(&vm, get(&vm, &object, 7).expect("a page").0);
        let before = (object.cached_pages(), frames(&vm, Kind::File), file.reads.load(SeqCst));
        let mut failures = 0;
        loop {
            vm.machine().allow_allocations(failures);
            let result = get(&vm, &object, index);
            vm.machine().allow_allocations(u64::MAX);
            let Err(error) = result else { break };
            assert_eq!(error, PageError::OutOfMemory);
            assert_eq!((object.cached_pages(), frames(&vm, Kind::File), file.reads.load(SeqCst)), before);
            assert_eq!(lookup(&vm, &object, index), None);
            failures += 1;
        }
        // The page, and the nodes that the tree lacked.
        assert_eq!(failures, if index < 64 { 1 } else { 3 });
        let pfn = lookup(&vm, &object, index).expect("the page");
        drop_page(&vm, pfn);
        drop_page(&vm, pfn);
        drop(object);
        check_empty(&vm);
    }
    vm.machine().allow_allocations(0);
    assert_eq!(vm.file(file.clone()).err(), Some(Error::OutOfMemory));
    vm.machine().allow_allocations(u64::MAX);
    check_empty(&vm);
}

#[test]
fn memory_that_ends_is_all_given_back() {
    let vm = boot(128);
    let object = vm.shared_memory_unreserved(1 << 30).expect("an object");
    let failed = (0..).map(|step| step * 1000).find(|&index| match get(&vm, &object, index) {
        Ok((pfn, _)) => {
            drop_page(&vm, pfn);
            false
        }
        Err(error) => error == PageError::OutOfMemory,
    });
    let failed = failed.expect("an end of memory");
    assert_eq!(object.cached_pages(), failed / 1000);
    drop(object);
    check_empty(&vm);
}

#[test]
fn file_pages_are_read_once_and_end_in_zeroes() {
    let vm = boot(512);
    let file = TestFile::new(5 * PAGE + 100);
    let object = vm.file(file.clone()).expect("an object");
    assert_eq!(object.length(), 5 * PAGE as u64 + 100);
    for index in [0, 5, 3, 0, 5] {
        let is_first = lookup(&vm, &object, index).map(|pfn| drop_page(&vm, pfn)).is_none();
        let (pfn, was_read) = get(&vm, &object, index).expect("a page");
        assert_eq!(was_read, is_first);
        let page = contents(&vm, pfn);
        let valid = if index == 5 { 100 } else { PAGE };
        assert!(page[..valid].iter().all(|&byte| byte == byte_of(index as usize)));
        assert!(page[valid..].iter().all(|&byte| byte == 0), "rubbish beyond the end");
        let frame = vm.physical().frame(pfn);
        assert_eq!((frame.kind(), frame.references(), is_dirty(frame)), (Kind::File, 2, false));
        assert_eq!(super::rss_kind(frame), crate::space::RssKind::File);
        drop_page(&vm, pfn);
    }
    assert_eq!(file.reads.load(SeqCst), 3);
    assert_eq!(get(&vm, &object, 6), Err(PageError::BeyondEnd { index: 6 }));
    assert_eq!(read_ahead(&vm, object.inner_pointer(), 2, u64::MAX), 2);
    assert_eq!((object.cached_pages(), file.reads.load(SeqCst)), (5, 5));
    assert_eq!(object.write_back(), Ok(0));
    file.data.lock().unwrap().resize(7 * PAGE, 9);
    drop_page(&vm, get(&vm, &object, 6).expect("a page of the longer file").0);
    drop(object);
    check_empty(&vm);
}

#[test]
fn a_failing_read_leaves_nothing() {
    let vm = boot(256);
    let file = TestFile::new(4 * PAGE);
    let object = vm.file(file.clone()).expect("an object");
    file.bad_read.store(2, SeqCst);
    for _ in 0..3 {
        assert_eq!(get(&vm, &object, 2), Err(PageError::Io { index: 2 }));
        assert_eq!((object.cached_pages(), lookup(&vm, &object, 2)), (0, None));
        assert_eq!(frames(&vm, Kind::File), 0);
    }
    assert_eq!(read_ahead(&vm, object.inner_pointer(), 0, 4), 2);
    file.bad_read.store(NEVER, SeqCst);
    let (pfn, was_read) = get(&vm, &object, 2).expect("a page");
    assert!(was_read);
    drop_page(&vm, pfn);
    drop(object);
    check_empty(&vm);
}

#[test]
fn write_back_writes_what_is_dirty() {
    let vm = boot(1024);
    let file = TestFile::new(199 * PAGE + 10);
    let object = vm.file(file.clone()).expect("an object");
    read_ahead(&vm, object.inner_pointer(), 0, 200);
    let dirty: Vec<u64> = (0..200).filter(|index| index % 3 == 1 || *index > 180).collect();
    for &index in &dirty {
        store(&vm, &object, index, 0xd1);
    }
    let used = frames(&vm, Kind::File);
    assert_eq!(object.write_back(), Ok(dirty.len() as u64));
    assert_eq!(*file.writes.lock().unwrap(), dirty);
    assert_eq!(vm.totals().get(Event::PageOut), dirty.len() as u64);
    assert_eq!((frames(&vm, Kind::File), frames(&vm, Kind::Allocated)), (used, 0));
    for index in 0..200 {
        let expected = if dirty.contains(&index) { 0xd1 } else { byte_of(index as usize) };
        assert_eq!(file.data.lock().unwrap()[index as usize * PAGE], expected);
    }
    assert_eq!(object.write_back(), Ok(0));
    // With no memory for a copy; the reserve is for that.
    vm.machine().allow_allocations(0);
    store(&vm, &object, 4, 0xd2);
    assert_eq!(object.write_back(), Ok(1));
    drop(object);
    vm.machine().allow_allocations(u64::MAX);
    assert_eq!(file.data.lock().unwrap()[4 * PAGE], 0xd2);
    check_empty(&vm);
}

#[test]
fn a_failing_write_keeps_the_page_dirty_and_spares_the_others() {
    let vm = boot(256);
    let file = TestFile::new(8 * PAGE);
    let object = vm.file(file.clone()).expect("an object");
    for index in 0..8 {
        store(&vm, &object, index, 0xaa);
    }
    file.bad_write.store(3, SeqCst);
    assert_eq!(object.write_back(), Err(Error::Io { index: 3 }));
    assert_eq!(file.writes.lock().unwrap().len(), 7);
    assert_eq!(object.write_back(), Err(Error::Io { index: 3 }));
    file.bad_write.store(NEVER, SeqCst);
    assert_eq!(object.write_back(), Ok(1));
    assert_eq!(file.writes.lock().unwrap().last(), Some(&3));
    // At the end of the object failures are counted.
    store(&vm, &object, 3, 0xbb);
    store(&vm, &object, 4, 0xbb);
    file.bad_write.store(3, SeqCst);
    drop(object);
    assert_eq!(vm.totals().get(Event::WriteBackError), 1);
    let data = file.data.lock().unwrap().clone();
    assert_eq!((data[3 * PAGE], data[4 * PAGE]), (0xaa, 0xbb));
    check_empty(&vm);
}

#[test]
fn a_page_that_has_moved_is_as_dirty_as_before() {
    become_cpu(0);
    let machine = TestMachine::<X86_64>::with(&[(0x100, 2000, 0), (0x2000, 2000, 1)], &[0; CPUS]);
    let vm = Vm::new(machine).expect("a machine that boots");
    let file = TestFile::new(PAGE);
    let object = vm.file(file.clone()).expect("an object");
    let space = vm.create_space().expect("memory");
    let request = MapRequest::object(&object, 0, Sharing::Shared, PAGE as u64, Prot::READ);
    let address = space.map(&request).expect("room");
    user::load(&space, address).expect("a page");
    // Only the page's mark says so: the entry allows no stores.
    store(&vm, &object, 0, 0xaa);
    assert_eq!(space.move_pages(address, PAGE as u64, 1), Ok((1, 0)));
    assert_eq!(object.write_back(), Ok(1));
    assert_eq!(file.data.lock().unwrap()[0], 0xaa);
}

#[test]
fn a_page_beyond_a_new_end_is_not_written() {
    let vm = boot(256);
    let file = TestFile::new(4 * PAGE);
    let object = vm.file(file.clone()).expect("an object");
    for index in 0..4 {
        store(&vm, &object, index, 7);
    }
    file.data.lock().unwrap().truncate(2 * PAGE + 1);
    assert_eq!(object.write_back(), Ok(3));
    drop(object);
    check_empty(&vm);
}

/// As beside truncation, which finds nothing at the new place if it has looked there.
#[test]
fn a_move_leaves_behind_what_is_being_cut_off() {
    const PAGE: u64 = 4096;
    let vm = boot(256);
    for (sharing, cut_from) in
        [(Sharing::Shared, 3), (Sharing::Private, 3), (Sharing::Private, 1), (Sharing::Shared, 5)]
    {
        let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
        let (old, new) = (16 * PAGE, 600 * PAGE);
        let request = MapRequest::object(&object, PAGE, sharing, 4 * PAGE, Prot::READ_WRITE);
        space.map(&request.at(Place::Fixed(old))).expect("room");
        (0..4).for_each(|page| user::store(&space, old + page * PAGE, 1).expect("memory"));
        object.inner().cut_from.store(cut_from, SeqCst);
        let request = RemapRequest {
            old,
            old_length: 4 * PAGE,
            new_length: 4 * PAGE,
            place: RemapPlace::Fixed(new),
            keep_old: false,
        };
        space.remap(&request).expect("room");
        object.inner().cut_from.store(u64::MAX, SeqCst);
        let shows = |at: u64, page: u64| space.translate(at + page * PAGE).is_some();
        for page in 0..4 {
            // The mapping begins with the object's second page.
            assert_eq!((shows(old, page), shows(new, page)), (false, page + 1 < cut_from), "{sharing:?} {page}");
        }
        vm.audited().expect("a sound machine");
    }
}

#[test]
fn an_object_lives_until_its_last_reference() {
    let vm = boot(256);
    let file = TestFile::new(2 * PAGE);
    let object = vm.file(file.clone()).expect("an object");
    let (id, inner) = (object.id(), object.inner_pointer());
    let other = object.clone();
    assert_ne!(vm.shared_memory(1).expect("an object").id(), id);
    store(&vm, &object, 1, 0x77);
    object.inner().get();
    drop((object, other));
    let mut ids = vec![];
    vm.objects().for_each(&Cx::enter(&vm), |object| ids.push(object.id()));
    assert_eq!(ids, [id]);
    let dying = Dying::new();
    {
        let cx = Cx::enter(&vm);
        dying.put(inner);
        // SAFETY: the object is not destroyed yet.
        let inner = unsafe { inner.as_ref() };
        assert!(!inner.try_get());
        release(&cx, inner.lookup(&cx, 1).expect("a page, until it is destroyed"));
    }
    assert!(file.writes.lock().unwrap().is_empty());
    dying.destroy(&vm);
    assert_eq!(*file.writes.lock().unwrap(), [1]);
    check_empty(&vm);
}

/// Runs `body` on each CPU at once.
fn on_all_cpus(body: impl Fn(usize) + Sync) {
    let barrier = Barrier::new(CPUS);
    thread::scope(|scope| {
        for cpu in 0..CPUS {
            let (barrier, body) = (&barrier, &body);
            scope.spawn(move || {
                become_cpu(cpu);
                barrier.wait();
                body(cpu);
            });
        }
    });
}

#[test]
fn threads_get_the_same_pages_and_read_them_once() {
    let vm = boot(4096);
    let file = TestFile::new(700 * PAGE);
    let object = vm.file(file.clone()).expect("an object");
    let memory = vm.shared_memory_unreserved(1 << 40).expect("an object");
    let majors = AtomicU64::new(0);
    on_all_cpus(|cpu| {
        let mut random = Random(cpu as u64 + 1);
        for step in 0..4000u64 {
            let index = random.below(700.min(step / 2 + 5));
            let (pfn, was_read) = get(&vm, &object, index).expect("a page");
            majors.fetch_add(was_read as u64, SeqCst);
            assert_eq!(contents(&vm, pfn)[17], byte_of(index as usize));
            assert_eq!(lookup(&vm, &object, index), Some(pfn));
            drop_page(&vm, pfn);
            drop_page(&vm, pfn);
            let index = (step % 600).pow(4);
            let (pfn, _) = get(&vm, &memory, index).expect("a page");
            // SAFETY: the word of this CPU is written by it alone.
            unsafe { vm.machine().frame(pfn).cast::<u64>().add(cpu).write_volatile(index + 1) };
            drop_page(&vm, pfn);
        }
    });
    assert_eq!(majors.load(SeqCst), object.cached_pages());
    assert_eq!(file.reads.load(SeqCst), object.cached_pages());
    assert_eq!(memory.cached_pages(), 600);
    memory.inner().for_each_page(&Cx::enter(&vm), |index, pfn| {
        let page = contents(&vm, pfn);
        assert!((0..CPUS).all(|cpu| page[cpu * 8..][..8] == (index + 1).to_le_bytes()));
    });
    drop((object, memory));
    check_empty(&vm);
}

#[test]
fn threads_survive_reads_that_fail() {
    let vm = boot(512);
    let file = TestFile::new(64 * PAGE);
    let object = vm.file(file.clone()).expect("an object");
    on_all_cpus(|cpu| {
        let mut random = Random(cpu as u64 + 91);
        for _ in 0..3000 {
            file.bad_read.store(random.below(64), SeqCst);
            let index = random.below(64);
            match get(&vm, &object, index) {
                Ok((pfn, _)) => {
                    assert_eq!(contents(&vm, pfn)[PAGE - 1], byte_of(index as usize));
                    drop_page(&vm, pfn);
                }
                Err(error) => assert_eq!(error, PageError::Io { index }),
            }
        }
    });
    drop(object);
    check_empty(&vm);
}

#[test]
fn nobody_waits_for_a_read_that_panicked() {
    struct Panicking(Barrier);
    impl Backing for Panicking {
        fn length(&self) -> u64 {
            PAGE as u64
        }
        fn read(&self, _: u64, _: &mut [u8]) -> Result<(), IoError> {
            self.0.wait();
            panic!("as the test wants");
        }
        fn write(&self, _: u64, _: &[u8]) -> Result<(), IoError> {
            Ok(())
        }
    }
    let vm = boot(256);
    let file = Arc::new(Panicking(Barrier::new(2)));
    let object = vm.file(file.clone()).expect("an object");
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            become_cpu(1);
            let _ = get(&vm, &object, 0);
        });
        while object.cached_pages() == 0 {
            thread::yield_now();
        }
        assert_eq!(lookup(&vm, &object, 0), None);
        let waiter = scope.spawn(|| {
            become_cpu(2);
            let pfn = object.inner().cache().find(&Cx::enter(&vm), 0).expect("the page being read");
            file.0.wait();
            wait(&vm, 0, pfn)
        });
        assert_eq!(waiter.join().expect("a result"), Err(PageError::Io { index: 0 }));
        assert!(reader.join().is_err());
    });
    assert_eq!(object.cached_pages(), 0);
    drop(object);
    check_empty(&vm);
}

/// A page added while the file became shorter is withdrawn, and who waits for it hears that there is no such page, not
/// that it could not be read.
#[test]
fn a_page_behind_the_new_end_is_withdrawn() {
    /// Shorter from the second time on that its length is asked for; and then only when the other is there.
    struct Shrinking(AtomicUsize, Barrier);
    impl Backing for Shrinking {
        fn length(&self) -> u64 {
            if self.0.fetch_add(1, SeqCst) == 0 {
                return 2 * PAGE as u64;
            }
            if self.0.load(SeqCst) == 2 {
                self.1.wait();
            }
            PAGE as u64
        }
        fn read(&self, _: u64, _: &mut [u8]) -> Result<(), IoError> {
            unreachable!("the page is withdrawn before it is read")
        }
        fn write(&self, _: u64, _: &[u8]) -> Result<(), IoError> {
            Ok(())
        }
    }
    let vm = boot(256);
    let file = Arc::new(Shrinking(AtomicUsize::new(0), Barrier::new(2)));
    let object = vm.file(file.clone()).expect("an object");
    thread::scope(|scope| {
        let adder = scope.spawn(|| {
            become_cpu(1);
            get(&vm, &object, 1)
        });
        while object.cached_pages() == 0 {
            thread::yield_now();
        }
        let waiter = scope.spawn(|| {
            become_cpu(2);
            let pfn = object.inner().cache().find(&Cx::enter(&vm), 1).expect("the page being looked at");
            file.1.wait();
            wait(&vm, 1, pfn)
        });
        assert_eq!(waiter.join().expect("a result"), Ok(None));
        assert_eq!(adder.join().expect("a result"), Err(PageError::BeyondEnd { index: 1 }));
    });
    assert_eq!(object.cached_pages(), 0);
    drop(object);
    check_empty(&vm);
}

/// The end of a file may lie anywhere in a page.
#[test]
fn an_object_ends_where_it_is_made_to_end() {
    let vm = boot(256);
    let file = TestFile::new(3 * PAGE);
    let object = vm.file(file.clone()).expect("an object");
    let space = vm.create_space().expect("a space");
    let length = 3 * PAGE as u64;
    let at = space.map(&MapRequest::object(&object, 0, Sharing::Shared, length, Prot::READ_WRITE)).expect("a mapping");
    let ones = vec![1; 3 * PAGE];
    space.copy_out(at, &ones).expect("three pages");
    let (page, _) = get(&vm, &object, 1).expect("a page");
    assert_eq!(
        object.truncate(length - 1),
        Err(Error::Invalid { what: "the backing is longer than the object is to be" })
    );
    assert!(contents(&vm, page).iter().all(|&byte| byte == 1), "what fails changes nothing");
    file.data.lock().unwrap().truncate(PAGE + 10);
    object.truncate(PAGE as u64 + 10).expect("the backing is that long");
    assert_eq!(object.cached_pages(), 2);
    assert_eq!((&contents(&vm, page)[..10], &contents(&vm, page)[10..12]), (&ones[..10], &[0, 0][..]));
    assert!(contents(&vm, page)[10..].iter().all(|&byte| byte == 0));
    // A file that is shorter than it is said to be ends where it does.
    file.data.lock().unwrap().truncate(PAGE + 9);
    object.truncate(PAGE as u64 + 10).expect("the backing is that long, or shorter");
    assert_eq!(contents(&vm, page)[8..11], [1, 0, 0]);
    file.data.lock().unwrap().push(0);
    // Behind the end: nobody's, until the file grows, and then gone.
    space.copy_out(at + PAGE as u64 + 8, &[5; 8]).expect("the page is there");
    object.grow(|| file.data.lock().unwrap().resize(2 * PAGE + 5, 0));
    assert_eq!(contents(&vm, page)[8..20], [5, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    space.copy_out(at + PAGE as u64 + 12, &[6]).expect("it is the file's now");
    object.write_back().expect("no error");
    assert_eq!(file.data.lock().unwrap()[PAGE + 8..PAGE + 14], [5, 5, 0, 0, 6, 0]);
    assert_eq!(file.data.lock().unwrap().len(), 2 * PAGE + 5);
    drop_page(&vm, page);
    drop((space, object));
    vm.quiesce();
    assert_eq!(vm.objects().len(), 0);
    vm.audited().expect("a clean audit");
}

/// Wherever it is mapped: at several places of several spaces, more than are looked for at a time, and more pages than
/// are cut at a time.
#[test]
fn what_is_cut_off_is_shown_nowhere() {
    const PAGES: u64 = 40;
    let vm = boot(1024);
    let object = vm.shared_memory(PAGES).expect("an object");
    let spaces: Vec<_> = (0..4).map(|_| vm.create_space().expect("a space")).collect();
    let length = PAGES * PAGE as u64;
    let request = MapRequest::object(&object, 0, Sharing::Shared, length, Prot::READ_WRITE);
    let places = |space: &Space<'_, TestMachine>| -> Vec<u64> {
        (0..20).map(|_| space.map(&request).expect("a mapping")).collect()
    };
    let places: Vec<_> = spaces.iter().map(places).collect();
    let everywhere =
        || spaces.iter().zip(&places).flat_map(|(space, places)| places.iter().map(move |&at| (space, at)));
    for (number, (space, at)) in (1..).zip(everywhere()) {
        space.copy_out(at, &vec![number; length as usize]).expect("memory");
    }
    object.truncate(2 * PAGE as u64).expect("shorter");
    for (space, at) in everywhere() {
        let page = |page: u64| user::load(space, at + page * PAGE as u64);
        let bus = |page: u64| Err(FaultError::Bus { address: at + page * PAGE as u64, index: page });
        assert_eq!((page(1), page(2), page(PAGES - 1)), (Ok(80), bus(2), bus(PAGES - 1)));
    }
    let shown: u64 = spaces.iter().map(|space| space.rss().shared_memory).sum();
    assert_eq!((object.cached_pages(), shown), (2, 4 * 20 * 2));
    drop((spaces, object));
    vm.audited().expect("a clean audit");
}

#[test]
fn shared_memory_ends_within_a_page_too() {
    let vm = boot(256);
    let object = vm.shared_memory(2).expect("an object");
    let (page, _) = get(&vm, &object, 0).expect("a page");
    store(&vm, &object, 0, 3);
    assert_eq!(
        object.truncate(2 * PAGE as u64 + 1),
        Err(Error::Invalid { what: "an object can only be made shorter" })
    );
    object.truncate(7).expect("shorter");
    assert_eq!((object.length(), contents(&vm, page)[0], contents(&vm, page)[PAGE - 1]), (7, 3, 0));
    assert!(matches!(get(&vm, &object, 1), Err(PageError::BeyondEnd { index: 1 })));
    drop_page(&vm, page);
    drop(object);
    check_empty(&vm);
}

/// A page that is being read by the old length is awaited by who makes the file longer: else what came behind the end
/// would show.
#[test]
fn growth_waits_for_a_page_that_is_being_read() {
    let vm = boot(256);
    let (begun, goes_on) = (Barrier::new(2), Barrier::new(2));
    struct Slow<'a>(&'a Barrier, &'a Barrier, AtomicU64);
    impl Backing for Slow<'_> {
        fn length(&self) -> u64 {
            self.2.load(SeqCst)
        }
        fn read(&self, _: u64, page: &mut [u8]) -> Result<(), IoError> {
            self.0.wait();
            self.1.wait();
            page.fill(9);
            Ok(())
        }
        fn write(&self, _: u64, _: &[u8]) -> Result<(), IoError> {
            Err(IoError)
        }
    }
    let barriers: &'static (Barrier, Barrier) = std::boxed::Box::leak(std::boxed::Box::new((begun, goes_on)));
    let file = Arc::new(Slow(&barriers.0, &barriers.1, AtomicU64::new(100)));
    let object = vm.file(file.clone()).expect("an object");
    let has_grown = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            become_cpu(1);
            let (page, _) = get(&vm, &object, 0).expect("a page");
            assert_eq!((contents(&vm, page)[99], contents(&vm, page)[100]), (9, 0));
            drop_page(&vm, page);
        });
        barriers.0.wait();
        scope.spawn(|| {
            become_cpu(2);
            object.grow(|| {
                file.2.store(200, SeqCst);
                has_grown.store(true, SeqCst);
            });
        });
        thread::sleep(Duration::from_millis(20));
        assert!(!has_grown.load(SeqCst), "the page is being read");
        barriers.1.wait();
        reader.join().expect("no panic");
    });
    assert!(has_grown.load(SeqCst));
    drop(object);
    check_empty(&vm);
}

/// What is behind the end to which a file is being cut is not found, even if the file has grown again.
#[test]
fn a_page_being_cut_off_is_waited_for() {
    let vm = boot(256);
    let file = TestFile::new(2 * PAGE);
    let object = vm.file(file.clone()).expect("an object");
    let (old, _) = get(&vm, &object, 1).expect("a page");
    drop_page(&vm, old);
    let lock = vm.physical().frame(old).folio_lock();
    lock.acquire(&vm);
    file.data.lock().unwrap().truncate(PAGE);
    thread::scope(|scope| {
        scope.spawn(|| {
            become_cpu(1);
            object.truncate(PAGE as u64).expect("the file is shorter");
        });
        while !object.inner().is_cut(1) {
            thread::yield_now();
        }
        file.data.lock().unwrap().resize(2 * PAGE, 7);
        let reader = scope.spawn(|| {
            become_cpu(2);
            let (new, was_read) = get(&vm, &object, 1).expect("the file has grown");
            assert_eq!((was_read, contents(&vm, new)[0]), (true, 7), "the old page");
            drop_page(&vm, new);
        });
        thread::sleep(Duration::from_millis(20));
        lock.release(&vm);
        reader.join().expect("no panic");
    });
    assert!(!object.inner().is_cut(1));
    drop(object);
    check_empty(&vm);
}

/// A backing that panics when it is asked its length leaves no page behind that would be waited for.
#[test]
fn nobody_waits_for_a_length_that_panicked() {
    struct Panicking(AtomicUsize);
    impl Backing for Panicking {
        fn length(&self) -> u64 {
            assert_ne!(self.0.fetch_add(1, SeqCst), 1, "as the test wants");
            PAGE as u64
        }
        fn read(&self, _: u64, page: &mut [u8]) -> Result<(), IoError> {
            page.fill(7);
            Ok(())
        }
        fn write(&self, _: u64, _: &[u8]) -> Result<(), IoError> {
            Ok(())
        }
    }
    let vm = boot(256);
    let file = Arc::new(Panicking(AtomicUsize::new(0)));
    let object = vm.file(file.clone()).expect("an object");
    let outcome = thread::scope(|scope| {
        scope
            .spawn(|| {
                become_cpu(1);
                get(&vm, &object, 0)
            })
            .join()
    });
    assert!(outcome.is_err());
    assert_eq!(object.cached_pages(), 0);
    let (pfn, was_read) = get(&vm, &object, 0).expect("the backing is well again");
    assert!(was_read);
    drop_page(&vm, pfn);
    drop(object);
    check_empty(&vm);
}

#[test]
fn stores_that_race_with_write_back_reach_the_file() {
    let vm = boot(512);
    let file = TestFile::new(32 * PAGE);
    let object = vm.file(file.clone()).expect("an object");
    on_all_cpus(|cpu| {
        for round in 0..400u64 {
            match cpu {
                0 | 1 => drop(object.write_back().expect("no error")),
                // Each page has one writer, which stores rising numbers.
                _ => store(&vm, &object, (round * 2 + cpu as u64) % 32, (round / 16) as u8),
            }
        }
    });
    object.write_back().expect("no error");
    let data = file.data.lock().unwrap().clone();
    object.inner().for_each_page(&Cx::enter(&vm), |index, pfn| {
        assert_eq!(data[index as usize * PAGE..][..PAGE], contents(&vm, pfn), "page {index}");
    });
    drop(object);
    check_empty(&vm);
}

#[test]
fn lookups_race_with_the_end_of_objects() {
    const ROUNDS: u64 = 3000;
    let vm = boot(2048);
    let current = AtomicPtr::<Inner<TestMachine>>::new(core::ptr::null_mut());
    let is_over = AtomicBool::new(false);
    on_all_cpus(|cpu| {
        if cpu > 0 {
            while !is_over.load(SeqCst) {
                let cx = Cx::enter(&vm);
                // SAFETY: objects are freed by grace periods, and the pointer is cleared before their last reference
                // goes.
                let Some(inner) = (unsafe { current.load(SeqCst).as_ref() }) else { continue };
                let id = inner.id();
                for index in [0, 1, 70] {
                    let Some(pfn) = inner.lookup(&cx, index) else { continue };
                    assert_eq!(contents(&vm, pfn)[0], (id + index) as u8);
                    release(&cx, pfn);
                }
            }
            return;
        }
        for round in 0..ROUNDS {
            let object = vm.shared_memory(100).expect("an object");
            for index in 0..=70 * (round % 2) {
                store(&vm, &object, index, (object.id() + index) as u8);
            }
            current.store(object.inner_pointer().as_ptr(), SeqCst);
            if round % 16 == 0 {
                thread::yield_now();
            }
            current.store(core::ptr::null_mut(), SeqCst);
            drop(object);
        }
        is_over.store(true, SeqCst);
    });
    check_empty(&vm);
}

#[test]
fn write_backs_of_one_object_do_not_overtake_each_other() {
    /// A file whose first write takes long.
    struct Slow {
        file: Arc<TestFile>,
        state: AtomicU64,
    }
    impl Backing for Slow {
        fn length(&self) -> u64 {
            self.file.length()
        }
        fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
            self.file.read(index, page)
        }
        fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
            if self.state.compare_exchange(0, 1, SeqCst, SeqCst).is_ok() {
                while self.state.load(SeqCst) == 1 {
                    thread::yield_now();
                }
            }
            self.file.write(index, page)
        }
    }
    let vm = boot(256);
    let file = Arc::new(Slow { file: TestFile::new(PAGE), state: AtomicU64::new(0) });
    let object = vm.file(file.clone()).expect("an object");
    store(&vm, &object, 0, 1);
    thread::scope(|scope| {
        let write_back = |cpu| {
            become_cpu(cpu);
            object.write_back()
        };
        let first = scope.spawn(move || write_back(1));
        while file.state.load(SeqCst) == 0 {
            thread::yield_now();
        }
        store(&vm, &object, 0, 2);
        let second = scope.spawn(move || write_back(2));
        thread::sleep(Duration::from_millis(30));
        let is_early = second.is_finished();
        file.state.store(2, SeqCst);
        assert_eq!((first.join().expect("a result"), second.join().expect("a result")), (Ok(1), Ok(1)));
        assert!(!is_early, "the second returns while the first still writes");
    });
    assert_eq!(file.file.data.lock().unwrap()[0], 2);
    drop(object);
    check_empty(&vm);
}

#[test]
fn several_objects_die_at_once() {
    let vm = boot(512);
    let files: Vec<Arc<TestFile>> = (0..5).map(|_| TestFile::new(PAGE)).collect();
    let dying = Dying::new();
    for file in &files {
        let object = vm.file(file.clone()).expect("an object");
        store(&vm, &object, 0, 1);
        object.inner().get();
        dying.put(object.inner_pointer());
        object.inner().get();
        let pointer = object.inner_pointer();
        drop(object);
        dying.put(pointer);
    }
    assert_eq!(vm.objects().len(), 5);
    dying.destroy(&vm);
    assert!(files.iter().all(|file| *file.writes.lock().unwrap() == [0]));
    check_empty(&vm);
}
