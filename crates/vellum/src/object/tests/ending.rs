//! The end of an object, which its backing is told by being dropped; and backings that panic.

use super::*;
use crate::ops::{Advice, Place};
use crate::space::Space;
use crate::testing::user;

type TestObject<'vm> = Object<'vm, TestMachine>;
type TestSpace<'vm> = Space<'vm, TestMachine>;

/// What becomes of a backing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Written { index: u64, byte: u8 },
    Dropped,
}

/// What has become of backings, in order; it outlives them.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Step>>>);

impl Log {
    fn steps(&self) -> Vec<Step> {
        self.0.lock().unwrap().clone()
    }

    fn note(&self, step: Step) {
        self.0.lock().unwrap().push(step);
    }

    fn drops(&self) -> usize {
        self.steps().iter().filter(|step| **step == Step::Dropped).count()
    }
}

/// A file of [`PAGES`] pages of zeroes which notes what is written to it, and its end. `Shape` makes it larger.
struct Noting<Shape = ()> {
    log: Log,
    _shape: Shape,
}

const PAGES: u64 = 4;

impl Noting {
    fn new(log: &Log) -> Self {
        Noting { log: log.clone(), _shape: () }
    }
}

impl<Shape: Send + Sync> Backing for Noting<Shape> {
    fn length(&self) -> u64 {
        may_sleep("Backing::length");
        PAGES * PAGE as u64
    }
    fn read(&self, _: u64, page: &mut [u8]) -> Result<(), IoError> {
        may_sleep("Backing::read");
        page.fill(0);
        Ok(())
    }
    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        may_sleep("Backing::write");
        self.log.note(Step::Written { index, byte: page[0] });
        Ok(())
    }
}

impl<Shape> Drop for Noting<Shape> {
    fn drop(&mut self) {
        may_sleep("the drop of a backing");
        self.log.note(Step::Dropped);
    }
}

/// Maps all pages of an object.
fn map(space: &TestSpace<'_>, object: &TestObject<'_>) -> u64 {
    let request = MapRequest::object(object, 0, Sharing::Shared, PAGES * PAGE as u64, Prot::READ_WRITE);
    space.map(&request).expect("room")
}

/// What keeps an object.
enum Keeper<'vm> {
    Object { _handle: TestObject<'vm> },
    Space { _handle: TestSpace<'vm> },
}

/// An object and a clone of the handle, a space that shows it, and a child of the space: page 1 was stored to.
fn keepers<'vm>(vm: &'vm TestVm, log: &Log) -> [Keeper<'vm>; 4] {
    let object = vm.file(Noting::new(log)).expect("an object");
    let space = vm.create_space().expect("a space");
    let at = map(&space, &object);
    user::store(&space, at + PAGE as u64, 7).expect("a page");
    let child = space.fork().expect("a child");
    [
        Keeper::Object { _handle: object.clone() },
        Keeper::Object { _handle: object },
        Keeper::Space { _handle: space },
        Keeper::Space { _handle: child },
    ]
}

const ENDED: [Step; 2] = [Step::Written { index: 1, byte: 7 }, Step::Dropped];

/// All orders of four things.
fn orders() -> impl Iterator<Item = [usize; 4]> {
    let all = (0..256).map(|number| [number & 3, number >> 2 & 3, number >> 4 & 3, number >> 6]);
    all.filter(|order| (0..4).all(|one| order.contains(&one)))
}

fn check_sound(vm: &TestVm) {
    vm.quiesce();
    assert_eq!(vm.objects().len(), 0);
    vm.audited().expect("a clean audit");
}

#[test]
fn a_backing_ends_with_whatever_keeps_its_object_last() {
    assert_eq!(orders().count(), 24);
    for order in orders() {
        let vm = boot(512);
        let log = Log::default();
        let mut keepers = keepers(&vm, &log).map(Some);
        for (step, one) in order.into_iter().enumerate() {
            assert_eq!(log.drops(), 0, "{order:?}, step {step}");
            keepers[one] = None;
        }
        drop(keepers);
        assert_eq!(log.steps(), ENDED, "{order:?}");
        check_sound(&vm);
        drop(vm);
        assert_eq!(log.steps(), ENDED, "{order:?}");
    }
}

/// D10: what was forgotten keeps its backing, for as long as it may be written to.
#[test]
fn a_backing_of_what_was_forgotten_ends_with_the_instance() {
    for forgotten in 0..4 {
        let (vm, log) = (boot(512), Log::default());
        for (number, keeper) in keepers(&vm, &log).into_iter().enumerate() {
            if number == forgotten { core::mem::forget(keeper) } else { drop(keeper) }
        }
        vm.reclaim(0, u64::MAX);
        assert_eq!(log.drops(), 0, "{forgotten}");
        drop(vm);
        assert_eq!(log.drops(), 1, "{forgotten}");
        assert_eq!(log.steps().last(), Some(&Step::Dropped), "{forgotten}");
    }
}

#[test]
fn reclaim_writes_to_a_backing_that_only_the_instance_knows() {
    let (vm, log) = (boot(512), Log::default());
    for keeper in keepers(&vm, &log) {
        core::mem::forget(keeper);
    }
    let mut turns = 0;
    while log.steps().is_empty() && turns < 100 {
        vm.reclaim(0, u64::MAX);
        turns += 1;
    }
    assert_eq!(log.steps(), ENDED[..1]);
    drop(vm);
    assert_eq!(log.steps(), ENDED);
}

#[test]
fn the_operation_that_unmaps_the_last_page_drops_the_backing() {
    fn over(space: &TestSpace<'_>, at: u64, length: u64) {
        let request = MapRequest::anonymous(length, Prot::READ).at(Place::Fixed(at));
        space.map(&request).expect("a mapping");
    }
    fn unmap(space: &TestSpace<'_>, at: u64, length: u64) {
        space.unmap(at, length).expect("no error");
    }
    for remove in [over, unmap] {
        let (vm, log) = (boot(512), Log::default());
        let space = vm.create_space().expect("a space");
        let object = vm.file(Noting::new(&log)).expect("an object");
        let at = map(&space, &object);
        drop(object);
        for page in 0..PAGES {
            assert_eq!(log.drops(), 0, "page {page}");
            let address = at + page * PAGE as u64;
            user::store(&space, address, page as u8).expect("a page");
            space.advise(address, PAGE as u64, Advice::DontNeed).expect("it is mapped");
            remove(&space, address, PAGE as u64);
        }
        let written = (0..PAGES).map(|index| Step::Written { index, byte: index as u8 });
        assert_eq!(log.steps(), written.chain([Step::Dropped]).collect::<Vec<_>>());
        drop(space);
        check_sound(&vm);
    }
}

#[test]
fn backings_that_do_not_fit_are_refused() {
    #[repr(align(64))]
    struct Aligned;
    #[repr(align(128))]
    struct TooAligned;
    const MOST: usize = 2048 - size_of::<Log>();

    fn make<Shape: Send + Sync + 'static>(shape: Shape) -> Result<(), Error> {
        let (vm, log) = (boot(64), Log::default());
        let free = vm.free_frames();
        let result = vm.file(Noting { log: log.clone(), _shape: shape }).map(|object| {
            assert_eq!(log.drops(), 0);
            drop_page(&vm, get(&vm, &object, 0).expect("a page").0);
        });
        assert_eq!(log.steps(), [Step::Dropped]);
        assert!(result.is_ok() || vm.free_frames() == free, "memory was taken for it");
        check_empty(&vm);
        result
    }
    let refused = Err(Error::Invalid { what: "size or alignment of a backing" });
    assert_eq!(make([0u8; MOST]), Ok(()));
    assert_eq!(make([0u8; MOST + 1]), refused);
    assert_eq!(make(Aligned), Ok(()));
    assert_eq!(make(TooAligned), refused);
}

#[test]
fn a_file_for_which_memory_is_missing_leaves_nothing() {
    let vm = boot(128);
    // The slab classes keep an empty slab each from the first time on.
    drop(vm.file(Noting::new(&Log::default())).expect("an object"));
    vm.quiesce();
    let free = vm.free_frames();
    let mut failures = 0;
    loop {
        let log = Log::default();
        vm.machine().allow_allocations(failures);
        let result = vm.file(Noting::new(&log));
        vm.machine().allow_allocations(u64::MAX);
        match result {
            Ok(_) => break,
            Err(error) => assert_eq!(error, Error::OutOfMemory),
        }
        assert_eq!(log.steps(), [Step::Dropped], "after {failures} allocations");
        assert_eq!(vm.free_frames(), free);
        failures += 1;
    }
    // The room for the backing, and the object.
    assert_eq!(failures, 2);
    check_empty(&vm);
}

/// What is too little at first is found when pages of another file went: the backing is there still.
#[test]
fn a_file_is_made_with_memory_that_others_gave_back() {
    let vm = boot(128);
    let other = vm.file(TestFile::new(1 << 20)).expect("an object");
    read_ahead(&vm, other.inner_pointer(), 0, u64::MAX);
    let mut frames = vec![];
    while let Ok(frame) = Cx::enter(&vm).alloc_frame(0, crate::phys::AllocFlags::NONE) {
        frames.push(frame);
    }
    let before = other.cached_pages();
    let log = Log::default();
    // Enough of them that the slabs there are do not do.
    let objects: Vec<_> = (0..200).map(|_| vm.file(Noting::new(&log)).expect("an object")).collect();
    assert!(other.cached_pages() < before);
    assert_eq!(log.drops(), 0);
    drop((objects, other));
    assert_eq!(log.drops(), 200);
    frames.into_iter().for_each(|frame| Cx::enter(&vm).free_frame(frame));
    check_empty(&vm);
}

#[test]
fn references_of_static_lifetime_and_boxes_are_backings() {
    struct Static;
    impl Backing for Static {
        fn length(&self) -> u64 {
            PAGE as u64
        }
        fn read(&self, _: u64, page: &mut [u8]) -> Result<(), IoError> {
            page.fill(3);
            Ok(())
        }
        fn write(&self, _: u64, _: &[u8]) -> Result<(), IoError> {
            Ok(())
        }
    }
    static STATIC: Static = Static;
    let vm = boot(128);
    let boxed: std::boxed::Box<dyn Backing> = std::boxed::Box::new(Static);
    for object in [vm.file(&STATIC), vm.file(&STATIC as &dyn Backing), vm.file(boxed), vm.file(Static)] {
        let object = object.expect("an object");
        let (pfn, _) = get(&vm, &object, 0).expect("a page");
        assert_eq!(contents(&vm, pfn)[0], 3);
        drop_page(&vm, pfn);
    }
    check_empty(&vm);
}

/// Runs `body` as CPU 1, in which it panics.
fn panics(body: impl FnOnce() + Send) {
    let outcome = thread::scope(|scope| {
        let run = || {
            become_cpu(1);
            body();
        };
        scope.spawn(run).join()
    });
    assert!(outcome.is_err(), "it does not panic");
}

/// A file that panics when it is dropped, having noted that.
struct PanicsAtEnd(Noting);

impl Backing for PanicsAtEnd {
    fn length(&self) -> u64 {
        self.0.length()
    }
    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        self.0.read(index, page)
    }
    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        self.0.write(index, page)
    }
}

impl Drop for PanicsAtEnd {
    fn drop(&mut self) {
        panic!("as the test wants");
    }
}

#[test]
fn an_end_that_panicked_leaves_nothing() {
    let (vm, log) = (boot(512), Log::default());
    let object = vm.file(PanicsAtEnd(Noting::new(&log))).expect("an object");
    store(&vm, &object, 1, 7);
    panics(|| drop(object));
    assert_eq!(log.steps(), ENDED);
    check_empty(&vm);
}

/// All free frames, those that CPUs keep among them.
fn free_frames(vm: &TestVm) -> u64 {
    for cpu in [1, 0] {
        become_cpu(cpu);
        vm.quiesce();
        Cx::enter(vm).drain_cpu();
    }
    vm.free_frames()
}

/// Of objects that come to their end in one operation, the others do so when one of them panics.
#[test]
fn others_end_when_an_end_panics() {
    for is_space_dropped in [false, true] {
        let (vm, log) = (boot(512), Log::default());
        // The slab classes keep an empty slab each from the first time on.
        drop(keepers(&vm, &log));
        let (free, drops) = (free_frames(&vm), log.drops());
        let space = vm.create_space().expect("a space");
        let at = 1 << 30;
        let length = PAGES * PAGE as u64;
        for number in 0..3 {
            let backing = Noting::new(&log);
            let object = if number == 1 { vm.file(PanicsAtEnd(backing)) } else { vm.file(backing) };
            let object = object.expect("an object");
            let request = MapRequest::object(&object, 0, Sharing::Shared, length, Prot::READ_WRITE);
            space.map(&request.at(Place::Fixed(at + number * length))).expect("room");
        }
        if is_space_dropped {
            panics(|| drop(space));
        } else {
            panics(|| space.unmap(at, 3 * length).expect("no error"));
            space.unmap(at, 3 * length).expect("nobody has a claim");
            drop(space);
        }
        assert_eq!(log.drops(), drops + 3);
        check_sound(&vm);
        assert_eq!(free_frames(&vm), free);
    }
}

/// A file whose first write panics, when two have come.
struct PanicsOnce {
    file: Arc<TestFile>,
    is_well: AtomicBool,
    together: Barrier,
}

impl Backing for PanicsOnce {
    fn length(&self) -> u64 {
        self.file.length()
    }
    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        self.file.read(index, page)
    }
    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        if !self.is_well.swap(true, SeqCst) {
            self.together.wait();
            panic!("as the test wants");
        }
        self.file.write(index, page)
    }
}

fn panics_once() -> Arc<PanicsOnce> {
    panics_among(2)
}

fn panics_among(threads: usize) -> Arc<PanicsOnce> {
    let file = TestFile::new(8 * PAGE);
    Arc::new(PanicsOnce { file, is_well: AtomicBool::new(false), together: Barrier::new(threads) })
}

#[test]
fn nobody_waits_for_a_write_that_panicked() {
    let vm = boot(256);
    let file = panics_once();
    let object = vm.file(file.clone()).expect("an object");
    (0..8).for_each(|index| store(&vm, &object, index, 9));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            become_cpu(2);
            let pfn = lookup(&vm, &object, 0).expect("the page being written");
            file.together.wait();
            let lock = vm.physical().frame(pfn).folio_lock();
            lock.acquire(&vm);
            let flags = vm.physical().frame(pfn).flags();
            lock.release(&vm);
            drop_page(&vm, pfn);
            flags & crate::phys::folio::WRITING
        });
        panics(|| _ = object.write_back());
        assert_eq!(waiter.join().expect("a result"), 0);
    });
    assert!(file.file.writes.lock().unwrap().is_empty());
    for index in 0..8 {
        let pfn = lookup(&vm, &object, index).expect("a page");
        let frame = vm.physical().frame(pfn);
        assert_eq!((frame.folio_lock().is_held(), is_dirty(frame), frame.references()), (false, true, 2), "{index}");
        drop_page(&vm, pfn);
    }
    assert_eq!(object.write_back(), Ok(8));
    drop(object);
    check_empty(&vm);
}

#[test]
fn reclaim_puts_back_what_was_not_written_when_a_write_panics() {
    let vm = boot(512);
    let file = panics_once();
    let object = vm.file(file.clone()).expect("an object");
    let space = vm.create_space().expect("a space");
    let (length, request) =
        (8 * PAGE as u64, MapRequest::object(&object, 0, Sharing::Shared, 8 * PAGE as u64, Prot::READ_WRITE));
    let at = space.map(&request).expect("room");
    (0..8).for_each(|page| user::store(&space, at + page * PAGE as u64, 9).expect("a page"));
    thread::scope(|scope| {
        scope.spawn(|| file.together.wait());
        panics(|| space.advise(at, length, Advice::PageOut).expect("no error"));
    });
    for index in 0..8 {
        let pfn = lookup(&vm, &object, index).expect("a page");
        let frame = vm.physical().frame(pfn);
        assert_eq!((frame.folio_lock().is_held(), is_dirty(frame), frame.references()), (false, true, 2), "{index}");
        drop_page(&vm, pfn);
    }
    // Shown again, all of them go, and are written.
    (0..8).for_each(|page| assert_eq!(user::load(&space, at + page * PAGE as u64), Ok(9)));
    space.advise(at, length, Advice::PageOut).expect("no error");
    let written = file.file.writes.lock().unwrap().len();
    assert_eq!((object.cached_pages(), written), (0, 8));
    drop((object, space));
    assert_eq!(Arc::strong_count(&file), 1);
    check_sound(&vm);
}

/// A backing that panics at the last write is dropped all the same, and what was not written is lost.
#[test]
fn a_last_write_that_panicked_ends_the_object() {
    let vm = boot(256);
    let file = panics_once();
    let object = vm.file(file.clone()).expect("an object");
    (0..8).for_each(|index| store(&vm, &object, index, 9));
    thread::scope(|scope| {
        scope.spawn(|| file.together.wait());
        panics(|| drop(object));
    });
    assert_eq!(Arc::strong_count(&file), 1);
    check_empty(&vm);
}

/// A file that panics when it is read.
struct PanicsAtRead(Noting);

impl Backing for PanicsAtRead {
    fn length(&self) -> u64 {
        self.0.length()
    }
    fn read(&self, _: u64, _: &mut [u8]) -> Result<(), IoError> {
        panic!("as the test wants")
    }
    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        self.0.write(index, page)
    }
}

#[test]
fn a_read_that_panicked_keeps_nothing() {
    let (vm, log) = (boot(512), Log::default());
    let object = vm.file(PanicsAtRead(Noting::new(&log))).expect("an object");
    let space = vm.create_space().expect("a space");
    let at = map(&space, &object);
    panics(|| _ = user::load(&space, at));
    panics(|| space.advise(at, PAGE as u64, Advice::WillNeed).expect("no error"));
    drop((object, space));
    assert_eq!(log.drops(), 1);
    check_sound(&vm);
}

/// What is done with memory that runs short, but for so many frames, when it calls what it is given.
type Operation = dyn Fn(&TestVm, &Log, &mut dyn FnMut()) + Sync;

/// Carries `operation` out as CPU 1, beside a dirty page of a file that panics when it is written to make room. For
/// each number of frames that are left until it does not panic; how often it did. Whatever it took is free again each
/// time.
fn while_room_panics(operation: &Operation) -> usize {
    for left in 0.. {
        let (vm, log) = (boot(512), Log::default());
        // The slab classes keep an empty slab each from the first time on.
        assert!(panics_with_left(&vm, &log, operation, None).is_ok());
        let before = free_frames(&vm);
        let result = panics_with_left(&vm, &log, operation, Some(left));
        check_sound(&vm);
        assert_eq!((Arc::strong_count(&log.0), free_frames(&vm)), (1, before), "with {left} frames left");
        if result.is_ok() {
            return left;
        }
    }
    unreachable!()
}

fn panics_with_left(vm: &TestVm, log: &Log, operation: &Operation, left: Option<usize>) -> thread::Result<()> {
    let file = panics_among(1);
    let object = vm.file(file.clone()).expect("an object");
    store(vm, &object, 0, 9);
    let mut taken = vec![];
    let mut run_short = || {
        let Some(left) = left else { return };
        let cx = Cx::enter(vm);
        taken.extend(std::iter::from_fn(|| cx.alloc_frame(0, crate::phys::AllocFlags::NONE).ok()));
        taken.drain(..left).for_each(|frame| cx.free_frame(frame));
    };
    let run = || {
        become_cpu(1);
        operation(vm, log, &mut run_short);
    };
    let result = thread::scope(|scope| scope.spawn(run).join());
    taken.into_iter().for_each(|frame| Cx::enter(vm).free_frame(frame));
    file.is_well.store(true, SeqCst);
    drop(object);
    result
}

#[test]
fn a_file_for_which_room_is_made_ends_when_that_panics() {
    const FILES: usize = 64;
    let panicked = while_room_panics(&|vm, log, run_short| {
        run_short();
        let backing = || Noting { log: log.clone(), _shape: [0u8; 1500] };
        drop((0..FILES).map(|_| vm.file(backing()).expect("memory")).collect::<Vec<_>>());
    });
    // Two backings a frame, and 32 objects; some fit into slabs that were kept.
    assert!((FILES / 2..FILES / 2 + FILES / 32).contains(&panicked), "{panicked}");
}

#[test]
fn a_fault_for_which_room_is_made_keeps_no_page_when_that_panics() {
    let panicked = while_room_panics(&|vm, log, run_short| {
        let space = vm.create_space().expect("a space");
        let object = vm.file(Noting::new(log)).expect("an object");
        let request = MapRequest::object(&object, 0, Sharing::Private, PAGES * PAGE as u64, Prot::READ_WRITE);
        let at = space.map(&request).expect("room");
        user::load(&space, at).expect("a page");
        run_short();
        user::store(&space, at + PAGE as u64, 1).expect("a page");
    });
    // The page is read, and then copied.
    assert_eq!(panicked, 2);
}
