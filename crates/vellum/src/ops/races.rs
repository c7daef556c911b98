//! Interleavings that have been wrong once, each forced: a hook runs just before an event in the core, and has
//! another CPU act. Diagrams run downwards in time. Every wait has an end.

use super::{Access, Advice, MapFlags, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use crate::arch::Prot;
use crate::cpu::Cx;
use crate::machine::{Machine, Touch};
use crate::object::IoError;
use crate::phys::Pfn;
use crate::testing::hooks::{self, Event, before};
use crate::testing::{OnePage, TestMachine, become_cpu};
use crate::{Error, Overcommit, Space, Vm};
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
/// What one leaf covers.
const LEAF: u64 = 512 * PAGE;
/// What one table above covers; where the tests map.
const BASE: u64 = 512 * LEAF;
/// How long a test waits for what must come.
const LONG: Duration = Duration::from_secs(5);
/// How long a test waits for what comes only if there is a bug: the other CPU has to wait for this one.
const SHORT: Duration = Duration::from_millis(40);

/// Makes the current thread CPU `cpu`, without hooks, and limits how long the core may wait on it.
fn start_cpu(cpu: usize) {
    become_cpu(cpu);
    hooks::clear();
    let deadline = Instant::now() + 4 * LONG;
    let is_over = move |event| event == Event::Wait && Instant::now() > deadline && !thread::panicking();
    before(is_over, || panic!("the core waits for ever"));
}

/// Whether the signal comes within `limit`.
fn comes(signal: &Receiver<()>, limit: Duration) -> bool {
    signal.recv_timeout(limit).is_ok()
}

/// Sends a signal that perhaps nobody waits for any more.
fn send(signal: &Sender<()>) {
    let _ = signal.send(());
}

/// Sends one signal; whether another comes within `limit`.
fn ask(question: &Sender<()>, answer: &Receiver<()>, limit: Duration) -> bool {
    send(question);
    comes(answer, limit)
}

/// Has CPU 1 do `work` just before an event on this CPU, which waits for the end of the work, for `limit` at most.
fn meanwhile<'s>(
    scope: &'s Scope<'s, '_>,
    is_it: impl Fn(Event) -> bool + 'static,
    limit: Duration,
    work: impl FnOnce() + Send + 's,
) {
    let ((begin, begun), (finish, finished)) = (channel(), channel());
    scope.spawn(move || {
        start_cpu(1);
        assert!(comes(&begun, LONG), "the event does not happen");
        work();
        send(&finish);
    });
    before(is_it, move || assert!(ask(&begin, &finished, limit) || limit == SHORT, "the other CPU waits for this one"));
}

fn is(expected: Event) -> impl Fn(Event) -> bool {
    move |event| event == expected
}

fn is_invalidation(event: Event) -> bool {
    matches!(event, Event::InvalidatePage | Event::InvalidateAsid)
}

fn boot() -> Vm<TestMachine> {
    let machine = TestMachine::with(&[(0x100, 8192, 0)], &[0; 3]);
    start_cpu(0);
    Vm::new(machine).expect("a machine")
}

fn memory(at: u64, length: u64) -> MapRequest<'static, 'static, TestMachine> {
    MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(at))
}

/// Where the mapped page at `address` lies.
fn page(space: &Space<'_, TestMachine>, address: u64) -> *mut u64 {
    space.vm().machine().frame(space.translate(address).expect("a page").pfn).cast()
}

/// The first word of the page at `address`, if there is one.
fn word(space: &Space<'_, TestMachine>, address: u64) -> Option<u64> {
    space.translate(address)?;
    // SAFETY: a mapped page, to which nobody stores now.
    Some(unsafe { page(space, address).read() })
}

/// Stores at `address` as a program does, by way of a fault.
fn store(space: &Space<'_, TestMachine>, address: u64, value: u64) {
    space.fault(address, Access::Write).expect("a page to store to");
    // SAFETY: a mapped page that one thread of the test stores to.
    unsafe { page(space, address).write(value) };
}

/// The table of `level` on the way to `address`.
fn table(space: &Space<'_, TestMachine>, address: u64, level: usize) -> Pfn {
    space.inner().table_at(&Cx::enter(space.vm()), address, level).pfn
}

/// A move must know of a table that a fault is about to make: its page was removed with the source.
///
/// ```text
/// CPU 0: remap                         CPU 1: fault
/// claims both places, makes leaves
///                                      finds no commit; is about to store the new table
/// begins its commit
/// (waits for CPU 1: the guard)         stores the table
/// clears the target, flushes           installs a page, stores 42
/// moves the pages
/// ```
#[test]
fn a_move_takes_along_the_table_that_a_fault_is_making() {
    let vm = boot();
    let space = vm.create_space().expect("a space");
    let target = 3 * BASE;
    for at in [BASE, target] {
        space.map(&memory(at, 2 * LEAF)).expect("a mapping");
        store(&space, at, 1);
    }
    vm.switch_to(Some(&space));
    let slot = vm.machine().frame(table(&space, BASE, 1)) as usize + size_of::<u64>();
    let claim = &raw const vm.physical().frame(table(&space, BASE, 1)).halves[1] as usize;
    let [(begin, begun), (pause, paused), (resume, resumed), (finish, finished)] = [(); 4].map(|()| channel());
    thread::scope(|scope| {
        let space = &space;
        scope.spawn(move || {
            start_cpu(1);
            assert!(comes(&begun, LONG));
            before(is(Event::Access(slot, Touch::Store)), move || _ = ask(&pause, &resumed, SHORT));
            store(space, BASE + LEAF, 42);
            send(&finish);
        });
        let changes = Cell::new(0);
        // The first change of the word makes the claim, the second marks it.
        let is_commit = move |event| {
            changes.set(changes.get() + u32::from(event == Event::Access(claim, Touch::Modify)));
            changes.get() == 2
        };
        before(is_commit, move || assert!(ask(&begin, &paused, LONG)));
        before(is_invalidation, move || assert!(ask(&resume, &finished, LONG)));
        let place = RemapPlace::Fixed(target);
        let request = RemapRequest { old: BASE, old_length: 2 * LEAF, new_length: 2 * LEAF, place, keep_old: false };
        assert_eq!(space.remap(&request), Ok(target));
    });
    assert_eq!((word(&space, target), word(&space, target + LEAF)), (Some(1), Some(42)));
    vm.switch_to(None);
    vm.audited().expect("a clean audit");
}

/// What lies between the places of a move, if they are far apart, is nobody's: who maps and unmaps something there,
/// with tables that come and go, does not wait.
#[test]
fn who_works_between_the_places_of_a_move_does_not_wait() {
    let vm = boot();
    let space = vm.create_space().expect("a space");
    let (old, between, new) = (BASE, 2 * BASE + LEAF / 2, 3 * BASE);
    space.map(&memory(old, PAGE)).expect("a mapping");
    store(&space, old, 42);
    // The page goes from its old place: both are claimed.
    let slot = vm.machine().frame(table(&space, old, 0)) as usize;
    let waits = || vm.totals().get(crate::Event::ClaimWait);
    thread::scope(|scope| {
        let space = &space;
        meanwhile(scope, is(Event::Access(slot, Touch::Modify)), LONG, move || {
            space.map(&memory(between, 2 * LEAF)).expect("a mapping");
            store(space, between, 1);
            space.protect(between, 2 * LEAF, Prot::READ).expect("a change");
            space.unmap(between, 2 * LEAF).expect("it is mapped");
        });
        let place = RemapPlace::Fixed(new);
        let request = RemapRequest { old, old_length: PAGE, new_length: PAGE, place, keep_old: false };
        assert_eq!(space.remap(&request), Ok(new));
    });
    assert_eq!((word(&space, new), waits()), (Some(42), 0));
    vm.audited().expect("a clean audit");
}

/// Removes the only page of a mapped file by `remove`, while CPU 1 begins to write it back just before the flush.
fn remove_while_cleaned(remove: impl FnOnce(&Space<'_, TestMachine>, u64)) {
    let file = OnePage::new();
    let vm = boot();
    let space = vm.create_space().expect("a space");
    let object = vm.file(file.clone()).expect("an object");
    vm.switch_to(Some(&space));
    let shown = MapRequest::object(&object, 0, Sharing::Shared, PAGE, Prot::READ_WRITE);
    let at = space.map(&shown).expect("a mapping");
    store(&space, at, 7);
    // SAFETY: the page is the object's, which lives; nobody accesses it otherwise but the core.
    let cached: &'static AtomicU64 = unsafe { AtomicU64::from_ptr(page(&space, at)) };
    let ((begin, begun), (finish, finished)) = (channel(), channel());
    thread::scope(|scope| {
        let (object, file) = (&object, &file);
        scope.spawn(move || {
            start_cpu(1);
            assert!(comes(&begun, LONG), "the event does not happen");
            assert_eq!(object.write_back(), Ok(1));
            assert_eq!(file.word(), 8, "what was stored before the flush is not in the file");
            send(&finish);
        });
        before(is_invalidation, move || {
            assert!(!ask(&begin, &finished, SHORT), "the write-back does not wait for the flush");
            // By a translation that is not flushed yet.
            cached.store(8, SeqCst);
        });
        remove(&space, at);
    });
    vm.switch_to(None);
}

/// B2, B22: a page is cleaned while a CPU can still store to it, or while its dirty mark is on the way from its entry
/// to the page.
///
/// ```text
/// CPU 0: unmap, advise or map          CPU 1: write_back
/// takes the dirty entry, marks the page
///                                      finds no entry; waits for the leaf's lock: the guard
/// stores 8 by a translation not flushed yet
/// flushes, lets the lock go
///                                      takes the mark, writes 8
/// ```
#[test]
fn a_store_before_the_flush_reaches_the_file() {
    remove_while_cleaned(|space, at| space.unmap(at, PAGE).expect("no error"));
    remove_while_cleaned(|space, at| space.unmap(at, LEAF).expect("no error"));
    remove_while_cleaned(|space, at| space.advise(at, PAGE, Advice::DontNeed).expect("no error"));
    remove_while_cleaned(|space, at| assert_eq!(space.map(&memory(at, PAGE)), Ok(at)));
}

/// Writes a page back while reclaim is writing it, and fails `failures` times; what comes of it, what is in the file
/// then, and the same of a second write-back.
fn write_back_beside_failing_reclaim(failures: u32) -> [(Result<u64, Error>, u64); 2] {
    let (begin, begun) = channel();
    let (left, begin) = (AtomicU32::new(failures), Mutex::new(Some(begin)));
    // The very first write waits a while for somebody to come.
    let file = OnePage::asking(move || {
        if let Some(begin) = begin.lock().unwrap().take() {
            send(&begin);
            thread::sleep(SHORT);
        }
        let fails = left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if fails { Err(IoError) } else { Ok(()) }
    });
    let vm = boot();
    let space = vm.create_space().expect("a space");
    let object = vm.file(file.clone()).expect("an object");
    let shown = MapRequest::object(&object, 0, Sharing::Shared, PAGE, Prot::READ_WRITE);
    let at = space.map(&shown).expect("a mapping");
    store(&space, at, 7);
    thread::scope(|scope| {
        let (object, file) = (&object, &file);
        let cleaner = scope.spawn(move || {
            start_cpu(1);
            assert!(comes(&begun, LONG), "the page is not written by reclaim");
            (object.write_back(), file.word())
        });
        space.advise(at, PAGE, Advice::PageOut).expect("no error");
        let first = cleaner.join().expect("no panic");
        [first, (object.write_back(), file.word())]
    })
}

/// B22: write-back waits for what reclaim is writing. If that fails, it tries again, and reports if it fails, too.
#[test]
fn a_write_that_fails_in_reclaim_is_made_good_or_reported() {
    assert_eq!(write_back_beside_failing_reclaim(0), [(Ok(0), 7), (Ok(0), 7)]);
    assert_eq!(write_back_beside_failing_reclaim(1), [(Ok(1), 7), (Ok(0), 7)]);
    let failed = Err(Error::Io { index: 0 });
    assert_eq!(write_back_beside_failing_reclaim(2), [(failed, 0), (Ok(1), 7)]);
}

/// The backing of a file that loses its last use is written to, and may wait for a fault, which may wait for the claim.
///
/// ```text
/// CPU 0: map over the file             CPU 1: the file's server
/// drops the last use of the file
/// ends its claim: the guard
/// writes the file back: asks CPU 1
///                                      faults in the range, where it needs a table
///                                      answers
/// ```
#[test]
fn a_backing_may_fault_in_the_range_that_loses_it() {
    let ((question, asked), (answer, answered)) = (channel(), channel());
    let server = Mutex::new((question, answered));
    let file = OnePage::asking(move || {
        let (question, answered) = &*server.lock().unwrap();
        if ask(question, answered, LONG) { Ok(()) } else { Err(IoError) }
    });
    let vm = boot();
    let space = vm.create_space().expect("a space");
    space.map(&memory(BASE, 2 * LEAF)).expect("a mapping");
    let object = vm.file(file.clone()).expect("an object");
    let shown = MapRequest::object(&object, 0, Sharing::Shared, PAGE, Prot::READ_WRITE);
    space.map(&shown.at(Place::Fixed(BASE))).expect("a mapping");
    store(&space, BASE, 7);
    drop(object);
    thread::scope(|scope| {
        let space = &space;
        scope.spawn(move || {
            start_cpu(1);
            assert!(comes(&asked, LONG), "the file is not written to");
            store(space, BASE + LEAF, 1);
            send(&answer);
        });
        space.map(&memory(BASE, 2 * LEAF)).expect("a mapping");
    });
    assert_eq!(file.word(), 7, "the fault waits for the operation that waits for it");
    assert_eq!(word(&space, BASE + LEAF), Some(1));
}

/// A fault made a table where a commit had been already; its page was removed when the commit came by again.
///
/// ```text
/// CPU 0: map(MAP_FIXED) over 66 leaves CPU 1: store to the 66th
/// gives the childless slots the class
/// zaps the first leaves, flushes
///                                      faults: would make the leaf
/// goes on to the other leaves          (waits for the end: the guard)
///                                      stores 9
/// ```
#[test]
fn a_store_to_a_new_mapping_survives_the_rest_of_its_making() {
    let vm = boot();
    let space = vm.create_space().expect("a space");
    let (length, last) = (66 * LEAF, BASE + 65 * LEAF);
    vm.set_overcommit(Overcommit::Always);
    space.map(&memory(BASE, length)).expect("a mapping");
    store(&space, BASE, 1);
    vm.switch_to(Some(&space));
    thread::scope(|scope| {
        meanwhile(scope, is_invalidation, SHORT, || store(&space, last, 9));
        space.map(&memory(BASE, length)).expect("a mapping");
    });
    assert_eq!((word(&space, BASE), word(&space, last)), (None, Some(9)));
    vm.switch_to(None);
    vm.audited().expect("a clean audit");
}

/// Forks while CPU 1 stores to a part that the fork has dealt with and then to one that it has not come to.
fn fork_is_a_cut(is_first_mapped: bool) {
    let vm = boot();
    let space = vm.create_space().expect("a space");
    let [first, middle, second] = [0, 1, 2].map(|leaf| BASE + leaf * LEAF);
    space.map(&memory(BASE, 3 * LEAF)).expect("a mapping");
    [middle, second, first][..2 + usize::from(is_first_mapped)].iter().for_each(|&at| store(&space, at, 0));
    let stamp = &raw const vm.physical().frame(table(&space, middle, 0)).words[0] as usize;
    thread::scope(|scope| {
        meanwhile(scope, is(Event::Access(stamp, Touch::Store)), SHORT, || {
            store(&space, first, 1);
            store(&space, second, 1);
        });
        let child = space.fork().expect("a child");
        let seen = (word(&child, first).unwrap_or(0), word(&child, second));
        assert_eq!(seen, (0, Some(0)), "the child sees the second store, or part of what came before it");
    });
    assert_eq!((word(&space, first), word(&space, second)), (Some(1), Some(1)));
    vm.audited().expect("a clean audit");
}

/// D10: the child has a later store and lacks an earlier one, where there was no table when fork came by.
///
/// ```text
/// CPU 0: fork                          CPU 1
/// passes leaf 0, which does not exist
/// begins leaf 1
///                                      stores to leaf 0: would make it
/// copies leaf 2, flushes               (waits for the flush: the guard)
///                                      stores to leaf 0, then to leaf 2
/// ```
#[test]
fn a_fault_that_needs_a_table_waits_for_the_fork() {
    fork_is_a_cut(false);
}

/// D10: the child has a later store and lacks an earlier one, where the leaf had been copied.
///
/// ```text
/// CPU 0: fork                          CPU 1
/// copies and stamps leaf 0
/// begins leaf 1
///                                      stores to leaf 0: would copy the page
/// copies leaf 2, flushes               (waits for the flush: the guard)
///                                      stores to leaf 0, then to leaf 2
/// ```
#[test]
fn a_fault_in_a_copied_leaf_waits_for_the_fork() {
    fork_is_a_cut(true);
}

/// The limit on a space is passed by a mapping that moves from where nobody has counted yet to where somebody has.
///
/// ```text
/// CPU 0: map                           CPU 1: remap
/// counts what lies below, nothing
///                                      would move all that there is there
/// counts what lies above               (waits for CPU 0: the guard)
/// is refused
/// ```
#[test]
fn what_moves_is_counted_once() {
    let vm = boot();
    let space = vm.create_space().expect("a space");
    let [low, middle, high] = [1, 3, 5].map(|place| place * BASE);
    space.map(&memory(high, 2 * PAGE)).expect("a mapping");
    space.set_mapped_limit(3 * PAGE);
    let entries = vm.machine().frame(table(&space, high, 1)) as usize;
    let is_counting = move |event| matches!(event, Event::Access(at, Touch::Load) if at / 4096 == entries / 4096);
    thread::scope(|scope| {
        let place = RemapPlace::Fixed(low);
        let request = RemapRequest { old: high, old_length: 2 * PAGE, new_length: 2 * PAGE, place, keep_old: false };
        let space = &space;
        meanwhile(scope, is_counting, SHORT, move || assert_eq!(space.remap(&request), Ok(low)));
        assert_eq!(space.map(&memory(middle, 2 * PAGE)), Err(Error::Limit { length: 2 * PAGE }));
    });
    assert_eq!(space.mapped_bytes(), 2 * PAGE);
    vm.audited().expect("a clean audit");
}

/// Two CPUs store to the same page below a stack, which may grow by just that page: both find it mapped.
///
/// ```text
/// CPU 0                                CPU 1
/// finds the stack a page above
///                                      grows it, up to the limit on the space
/// is refused a page more
/// looks again: the guard
/// ```
#[test]
fn a_stack_that_somebody_else_grows_is_there() {
    let vm = boot();
    let space = vm.create_space().expect("a space");
    let stack = memory(BASE, PAGE).with(MapFlags::GROWS_DOWN);
    space.map(&stack).expect("a stack");
    space.set_mapped_limit(2 * PAGE);
    let limit = &raw const space.inner().mapped_limit as usize;
    thread::scope(|scope| {
        let space = &space;
        meanwhile(scope, is(Event::Access(limit, Touch::Load)), LONG, || store(space, BASE - PAGE, 1));
        space.fault(BASE - PAGE, Access::Write).expect("the page that CPU 1 has mapped");
    });
    assert_eq!((word(&space, BASE - PAGE), space.mapped_bytes()), (Some(1), 2 * PAGE));
    assert!(space.fault(BASE - 2 * PAGE, Access::Write).is_err(), "the limit is reached");
    vm.audited().expect("a clean audit");
}

/// J7: a CPU between two spaces is asked to leave the one and to flush a page of the other: it must do both.
///
/// ```text
/// CPU 0: drop(old)   CPU 1: switch_to(new)     CPU 2: unmap in new
///                    has read the generation
/// asks CPU 1 to leave                          asks CPU 1 to flush
///                    has the root loaded
///                    serves both: flushes
/// ```
#[test]
fn a_request_to_leave_does_not_swallow_one_to_flush() {
    let vm = boot();
    let (old, new) = (vm.create_space().expect("a space"), vm.create_space().expect("a space"));
    new.map(&memory(BASE, PAGE)).expect("a mapping");
    store(&new, BASE, 1);
    let [(leave, leaving), (flush, flushing), (ask, asked), (invalidate, invalidated)] = [(); 4].map(|()| channel());
    let (also_ask, load) = (ask.clone(), channel());
    thread::scope(|scope| {
        let (vm, new) = (&vm, &new);
        scope.spawn(move || {
            start_cpu(1);
            vm.switch_to(Some(&old));
            before(is(Event::LoadRoot), move || {
                [leave, flush].iter().for_each(send);
                assert!(comes(&asked, LONG) && comes(&asked, LONG));
            });
            before(is_invalidation, move || send(&invalidate));
            load.0.send(old).expect("a receiver");
            vm.switch_to(Some(new));
            vm.switch_to(None);
        });
        scope.spawn(move || {
            start_cpu(0);
            let old = load.1.recv_timeout(LONG).expect("the space");
            assert!(comes(&leaving, LONG));
            before(is(Event::Interrupt), move || send(&ask));
            drop(old);
        });
        scope.spawn(move || {
            start_cpu(2);
            assert!(comes(&flushing, LONG));
            before(is(Event::Interrupt), move || send(&also_ask));
            new.unmap(BASE, PAGE).expect("no error");
        });
    });
    assert!(comes(&invalidated, SHORT), "CPU 1 has the new space loaded and still its old translations");
    vm.audited().expect("a clean audit");
}

/// An object of another instance is refused: its frames would be looked up in the wrong machine. Needs no second CPU.
#[test]
fn an_object_of_another_instance_is_refused() {
    let (vm, other) = (boot(), boot());
    let space = vm.create_space().expect("a space");
    let object = other.shared_memory(4).expect("an object");
    let shown = MapRequest::object(&object, 0, Sharing::Shared, PAGE, Prot::READ_WRITE);
    assert!(matches!(space.map(&shown), Err(Error::Invalid { .. })));
    vm.audited().expect("a clean audit");
}

/// A space of another instance is not loaded: its end would leave its root on this CPU. Needs no second CPU.
#[test]
fn a_space_of_another_instance_is_not_loaded() {
    let vm = boot();
    let own = vm.create_space().expect("a space");
    vm.switch_to(Some(&own));
    {
        let other = boot();
        let space = other.create_space().expect("a space");
        before(is(Event::LoadRoot), || panic!("a foreign root is loaded"));
        vm.switch_to(Some(&space));
    }
    own.map(&memory(BASE, PAGE)).expect("a mapping");
    store(&own, BASE, 1);
    before(is_invalidation, || panic!("the space is still loaded"));
    own.unmap(BASE, PAGE).expect("no error");
    start_cpu(0);
    vm.switch_to(None);
}
