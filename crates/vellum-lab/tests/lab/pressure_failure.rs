//! Every allocation (those for saved tags included), every transfer of the swap device and of files, and every
//! compressed page fails in turn, alone and with all that follow, under each operation that has to do with pages in
//! swap. Afterwards the core's recount finds nothing wrong, every program sees what it stored, with its tags, or gets a
//! bus error where that is lost, and in the end nothing is left in use.

use crate::toys::Toy;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use vellum::arch::{Aarch64, Arch, Prot, X86_64};
use vellum::ops::{Advice, MapFlags, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use vellum::{AreaId, Backing, Error, IoError, Object, Space};
use vellum_lab::AccessError;
use vellum_lab::contract::{self, Opened};
use vellum_lab::det::FailurePlan;
use vellum_lab::hardware::MachineConfig;
use vellum_lab::host::Host;
use vellum_lab::hosted::Hosted;
use vellum_lab::swap_device::{Handle, MemoryDevice};

const PAGE: u64 = 4096;
/// Private pages of the parent, from here on; every third one is anew the child's alone.
const PRIVATE: u64 = 16 * PAGE;
const PAGES: u64 = 10;
/// Where they may be moved to.
const ELSEWHERE: u64 = 44 * PAGE;
/// Pages of a file, shared, from here on.
const FILE: u64 = 30 * PAGE;
const FILE_PAGES: u64 = 4;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    Allocation,
    DeviceRead,
    DeviceWrite,
    FileRead,
    FileWrite,
    Compressor,
}

const ALL: [Failing; 6] = [
    Failing::Allocation,
    Failing::DeviceRead,
    Failing::DeviceWrite,
    Failing::FileRead,
    Failing::FileWrite,
    Failing::Compressor,
];

/// A file in memory, whose transfers fail as planned.
struct File {
    pages: [std::sync::Mutex<Vec<u8>>; FILE_PAGES as usize],
    reads: Port,
    writes: Port,
}

/// Counts transfers; those of a range fail.
#[derive(Default)]
struct Port {
    first: AtomicU64,
    end: AtomicU64,
    seen: AtomicU64,
}

impl Port {
    fn set(&self, plan: FailurePlan) {
        let (first, end) = match plan {
            FailurePlan::Never => (0, 0),
            FailurePlan::Nth(number) => (number, number + 1),
            FailurePlan::From(number) => (number, u64::MAX),
        };
        self.first.store(first, Relaxed);
        self.end.store(end, Relaxed);
        self.seen.store(0, Relaxed);
    }

    fn pass(&self) -> Result<(), IoError> {
        let number = self.seen.fetch_add(1, Relaxed);
        if (self.first.load(Relaxed)..self.end.load(Relaxed)).contains(&number) { Err(IoError) } else { Ok(()) }
    }
}

impl Backing for File {
    fn length(&self) -> u64 {
        contract::may_sleep("Backing::length");
        FILE_PAGES * PAGE
    }

    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::read");
        self.reads.pass()?;
        page.copy_from_slice(&self.pages[index as usize].lock().unwrap());
        Ok(())
    }

    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::write");
        self.writes.pass()?;
        self.pages[index as usize].lock().unwrap().copy_from_slice(page);
        Ok(())
    }
}

impl File {
    fn new() -> File {
        let pages = std::array::from_fn(|_| std::sync::Mutex::new(vec![0; PAGE as usize]));
        File { pages, reads: Port::default(), writes: Port::default() }
    }
}

/// What a page must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// What was stored with this stamp.
    Stored(u8),
    /// That, or nothing, since it was given up.
    Perhaps(u8),
    /// Zeroes.
    Nothing,
    /// It is not mapped.
    Unmapped,
}

/// The contents of a page with a stamp: small when compressed, or not at all.
fn contents(stamp: u8) -> Vec<u8> {
    let noisy = stamp % 2 == 1;
    let mut random = fastrand::Rng::with_seed(stamp.into());
    (0..PAGE).map(|_| if noisy { random.u8(..) } else { stamp }).collect()
}

/// A machine with one program or two, and what they must see.
struct Stage<'h, A: Arch> {
    hosted: &'h Hosted<A>,
    file: Arc<File>,
    device: Arc<MemoryDevice>,
    area: Option<AreaId>,
    spaces: Vec<Option<Space<'h, Host<A>>>>,
    object: Option<Object<'h, Host<A>>>,
    /// (space, address): what is there.
    expected: Vec<(usize, u64, Shows)>,
    /// A page may be lost where reading swap or decompressing failed.
    may_lose: bool,
    /// Pages found lost.
    lost: u64,
}

/// Why an operation did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    Memory,
    /// A bus error, or an error of I/O.
    Io,
}

fn of_core(error: Error) -> Fails {
    match error {
        Error::OutOfMemory => Fails::Memory,
        Error::Io { .. } => Fails::Io,
        other => panic!("{other}"),
    }
}

fn of_access(error: AccessError) -> Fails {
    match error {
        error if error.is_out_of_memory() => Fails::Memory,
        error if error.is_bus() => Fails::Io,
        other => panic!("{other}"),
    }
}

impl<'h, A: Arch> Stage<'h, A> {
    /// A parent with pages of memory and of a file, and perhaps a child that shares some of them.
    fn new(hosted: &'h Hosted<A>, compresses: bool, has_child: bool) -> Self {
        let vm = hosted.vm();
        let device = Arc::new(MemoryDevice::new(200, PAGE as usize));
        vm.set_compressed_limit(if compresses { 64 } else { 0 });
        let area = Some(vm.swap_on(Handle(device.clone()), 0).unwrap());
        let file = Arc::new(File::new());
        let object = vm.file(Opened::of(&file)).unwrap();
        let parent = vm.create_space().unwrap();
        let tags = if A::SEMANTICS.tags.is_some() { MapFlags::TAGGED } else { MapFlags::NONE };
        let place = |address| Place::Fixed(address);
        parent.map(&MapRequest::anonymous(PAGES * PAGE, Prot::READ_WRITE).at(place(PRIVATE)).with(tags)).unwrap();
        let request = MapRequest::object(&object, 0, Sharing::Shared, FILE_PAGES * PAGE, Prot::READ_WRITE);
        parent.map(&request.at(place(FILE))).unwrap();
        let mut stage = Stage {
            hosted,
            file,
            device,
            area,
            spaces: vec![Some(parent)],
            object: Some(object),
            expected: Vec::new(),
            may_lose: false,
            lost: 0,
        };
        (0..PAGES).for_each(|page| stage.put(0, PRIVATE + page * PAGE, page as u8 + 1));
        (0..FILE_PAGES).for_each(|page| stage.put(0, FILE + page * PAGE, page as u8 + 101));
        if has_child {
            stage.fork().unwrap();
            for page in (0..PAGES).step_by(3) {
                stage.put(1, PRIVATE + page * PAGE, page as u8 + 51);
            }
        }
        stage
    }

    fn space(&self, number: usize) -> &Space<'h, Host<A>> {
        self.spaces[number].as_ref().unwrap()
    }

    /// Stores a page, and tags its first granule.
    fn store(&self, space: usize, address: u64, stamp: u8) -> Result<(), Fails> {
        let (bytes, granule) = (contents(stamp), granule::<A>(address));
        let (cpu, space) = (space % 2, self.space(space));
        if granule > 0 {
            self.hosted.set_tag(cpu, space, address, granule, stamp % 15 + 1).map_err(of_access)?;
            self.hosted.store_tagged(cpu, space, address, &bytes[..granule], stamp % 15 + 1).map_err(of_access)?;
        }
        self.hosted.store(cpu, space, address + granule as u64, &bytes[granule..]).map_err(of_access)
    }

    /// The same, and notes it.
    fn put(&mut self, space: usize, address: u64, stamp: u8) {
        self.store(space, address, stamp).unwrap();
        self.expected.retain(|&(at, page, _)| (at, page) != (space, address));
        self.expected.push((space, address, Shows::Stored(stamp)));
    }

    /// Compares a page; what is wrong with it.
    fn look(&self, space: usize, address: u64, shows: Shows) -> Result<(), Fails> {
        let (cpu, core) = (space % 2, self.space(space));
        let stamp = match shows {
            Shows::Stored(stamp) | Shows::Perhaps(stamp) => stamp,
            Shows::Nothing => {
                assert_eq!(self.hosted.load(cpu, core, address, PAGE as usize).map_err(of_access)?, [0; PAGE as usize]);
                return Ok(());
            }
            Shows::Unmapped => {
                assert!(self.hosted.load(cpu, core, address, 1).unwrap_err().is_segv(), "{address:#x} is mapped");
                return Ok(());
            }
        };
        let (bytes, granule) = (contents(stamp), granule::<A>(address));
        let rest = self.hosted.load(cpu, core, address + granule as u64, PAGE as usize - granule).map_err(of_access)?;
        let is_gone = matches!(shows, Shows::Perhaps(_)) && rest.iter().all(|&byte| byte == 0);
        assert!(is_gone || rest == bytes[granule..], "space {space}, page {address:#x}, which {shows:?}: other bytes");
        if granule > 0 {
            let tag = if is_gone { 0 } else { stamp % 15 + 1 };
            let first = self.hosted.load_tagged(cpu, core, address, granule, tag).map_err(of_access)?;
            let is_right = if is_gone { first.iter().all(|&byte| byte == 0) } else { first == bytes[..granule] };
            assert!(is_right, "space {space}, page {address:#x}, which {shows:?}: other bytes under the tag");
        }
        Ok(())
    }

    /// Compares all pages of all programs, and lets the core recount.
    fn verify(&mut self) {
        self.recount();
        let mut lost = 0;
        for &(space, address, shows) in &self.expected {
            match self.look(space, address, shows) {
                Ok(()) => {}
                Err(Fails::Io) if self.may_lose => lost += 1,
                Err(error) => panic!("space {space}, page {address:#x}, which {shows:?}: {error:?}"),
            }
        }
        self.lost = lost;
        self.recount();
    }

    fn recount(&self) {
        self.hosted.audit_tlbs();
        assert_eq!(self.hosted.take_violations(), []);
        // SAFETY: CPUs take turns, and none is inside the core.
        unsafe { self.hosted.vm().audit() }.unwrap_or_else(|error| panic!("{error}"));
    }

    fn set(&self, what: Failing, plan: FailurePlan) {
        match what {
            Failing::Allocation => self.hosted.machine().set_failure_plan(plan),
            Failing::DeviceRead => self.device.fail_reads(plan),
            Failing::DeviceWrite => self.device.fail_writes(plan),
            Failing::FileRead => self.file.reads.set(plan),
            Failing::FileWrite => self.file.writes.set(plan),
            Failing::Compressor => self.hosted.machine().compressor().set_corruption(plan),
        }
    }

    /// Attempts since the plan was set; the device's are counted from when the machine was made.
    fn attempts(&self, what: Failing) -> u64 {
        match what {
            Failing::Allocation => self.hosted.machine().allocations(),
            Failing::DeviceRead => self.device.counters().reads,
            Failing::DeviceWrite => self.device.counters().writes,
            Failing::FileRead => self.file.reads.seen.load(Relaxed),
            Failing::FileWrite => self.file.writes.seen.load(Relaxed),
            Failing::Compressor => self.hosted.machine().compressor().compressed(),
        }
    }

    // The operations.

    /// Puts out what can be, shared pages too.
    fn put_out(&mut self) -> Result<(), Fails> {
        let vm = self.hosted.vm();
        self.space(0).advise(PRIVATE, PAGES * PAGE, Advice::PageOut).map_err(of_core)?;
        vm.reclaim(0, 1000);
        vm.reclaim(1, 1000);
        Ok(())
    }

    fn load_all(&mut self) -> Result<(), Fails> {
        self.expected.iter().try_for_each(|&(space, address, shows)| self.look(space, address, shows))
    }

    /// One byte of each private page of the parent is stored as it is.
    fn store_all(&mut self) -> Result<(), Fails> {
        for &(space, address, shows) in self.expected.iter().filter(|page| page.1 < FILE) {
            let Shows::Stored(stamp) = shows else { continue };
            let last = [*contents(stamp).last().unwrap()];
            self.hosted.store(0, self.space(space), address + PAGE - 1, &last).map_err(of_access)?;
        }
        Ok(())
    }

    fn swap_off(&mut self) -> Result<(), Fails> {
        if let Some(area) = self.area {
            self.hosted.vm().swap_off(area).map_err(of_core)?;
            self.area = None;
        }
        Ok(())
    }

    fn swap_on(&mut self) -> Result<(), Fails> {
        let device = MemoryDevice::new(3000, PAGE as usize);
        let area = self.hosted.vm().swap_on(device, 1).map_err(of_core)?;
        self.hosted.vm().swap_off(area).map_err(of_core)
    }

    fn fork(&mut self) -> Result<(), Fails> {
        let child = self.space(0).fork().map_err(of_core)?;
        let number = self.spaces.len();
        self.spaces.push(Some(child));
        let parent: Vec<_> = self.expected.iter().copied().filter(|page| page.0 == 0).collect();
        self.expected.extend(parent.into_iter().map(|(_, address, shows)| (number, address, shows)));
        Ok(())
    }

    fn remap(&mut self) -> Result<(), Fails> {
        let (old_length, new_length) = (PAGES * PAGE, PAGES * PAGE);
        let place = RemapPlace::Fixed(ELSEWHERE);
        let request = RemapRequest { old: PRIVATE, old_length, new_length, place, keep_old: false };
        if self.space(0).translate(ELSEWHERE).is_some() || self.expected.iter().any(|page| page.1 >= ELSEWHERE) {
            return Ok(());
        }
        self.space(0).remap(&request).map_err(of_core)?;
        let mut moved = Vec::new();
        for (space, address, shows) in &mut self.expected {
            if *space == 0 && *address < FILE {
                moved.push((0, *address, Shows::Unmapped));
                *address += ELSEWHERE - PRIVATE;
            }
            let _ = shows;
        }
        self.expected.extend(moved);
        Ok(())
    }

    fn migrate(&mut self) -> Result<(), Fails> {
        for node in [1, 0] {
            self.space(0).move_pages(PRIVATE, PAGES * PAGE, node).map_err(of_core)?;
            self.space(0).move_pages(FILE, FILE_PAGES * PAGE, node).map_err(of_core)?;
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), Fails> {
        for order in [2, 4] {
            self.hosted.vm().compact(0, order);
        }
        Ok(())
    }

    fn unmap(&mut self) -> Result<(), Fails> {
        self.space(0).unmap(PRIVATE, 6 * PAGE).map_err(of_core)?;
        self.now(0, PRIVATE..PRIVATE + 6 * PAGE, |_| Shows::Unmapped);
        Ok(())
    }

    fn drop_contents(&mut self) -> Result<(), Fails> {
        self.space(0).advise(PRIVATE, 6 * PAGE, Advice::DontNeed).map_err(of_core)?;
        self.now(0, PRIVATE..PRIVATE + 6 * PAGE, |_| Shows::Nothing);
        Ok(())
    }

    fn give_up(&mut self) -> Result<(), Fails> {
        self.space(0).advise(PRIVATE, 6 * PAGE, Advice::Free).map_err(of_core)?;
        self.now(0, PRIVATE..PRIVATE + 6 * PAGE, |shows| match shows {
            Shows::Stored(stamp) => Shows::Perhaps(stamp),
            shows => shows,
        });
        self.put_out()
    }

    fn end_parent(&mut self) -> Result<(), Fails> {
        self.spaces[0] = None;
        self.expected.retain(|page| page.0 != 0);
        Ok(())
    }

    fn write_back(&mut self) -> Result<(), Fails> {
        self.object.as_ref().unwrap().write_back().map_err(of_core).map(|_| ())
    }

    fn now(&mut self, space: usize, pages: std::ops::Range<u64>, shows: impl Fn(Shows) -> Shows) {
        let those = self.expected.iter_mut().filter(|page| page.0 == space && pages.contains(&page.1));
        those.for_each(|page| page.2 = shows(page.2));
    }

    /// Ends everything: nothing is left.
    fn end(mut self) {
        self.spaces.clear();
        self.object = None;
        for cpu in [0, 1, 0, 1] {
            self.hosted.on(cpu, || self.hosted.vm().quiesce());
        }
        let vm = self.hosted.vm();
        // SAFETY: CPUs take turns, and none is inside the core.
        let swap = unsafe { vm.audit() }.unwrap_or_else(|error| panic!("{error}")).swap;
        assert_eq!(swap, Default::default(), "swap is in use after the end");
        let usage = vm.swap_usage();
        assert_eq!((usage.used, usage.cached, usage.compressed_pages, usage.compressed_bytes), (0, 0, 0, 0));
        self.swap_off().unwrap();
        for cpu in [0, 1, 0, 1] {
            self.hosted.on(cpu, || self.hosted.vm().quiesce());
        }
        let usage = vm.usage();
        assert_eq!((usage.anonymous, usage.file, usage.tables), (0, 0, 0), "{usage:?}");
        self.recount();
    }
}

/// Bytes of the granule that is tagged at `address`; 0 without tags.
fn granule<A: Arch>(address: u64) -> usize {
    let is_private = !(FILE..ELSEWHERE).contains(&address);
    A::SEMANTICS.tags.filter(|_| is_private).map_or(0, |tags| 1 << tags.granule_shift)
}

type Operation<'h, A> = fn(&mut Stage<'h, A>) -> Result<(), Fails>;

/// The operations by name, and whether pages are put out before.
fn operations<'h, A: Arch>() -> [(&'static str, bool, Operation<'h, A>); 18] {
    [
        ("put out", false, Stage::put_out),
        ("put out again, clean", true, |stage| stage.load_all().and_then(|()| stage.put_out())),
        ("put out again, dirty", true, |stage| stage.store_all().and_then(|()| stage.put_out())),
        ("load", true, Stage::load_all),
        ("store", true, Stage::store_all),
        ("switch swap off", true, Stage::swap_off),
        ("switch swap on", true, Stage::swap_on),
        ("fork", true, Stage::fork),
        ("move the mapping", true, Stage::remap),
        ("move the mapping and load", true, |stage| stage.remap().and_then(|()| stage.load_all())),
        ("move pages", false, Stage::migrate),
        ("move what is in swap", true, |stage| stage.migrate().and_then(|()| stage.load_all())),
        ("compact", false, Stage::compact),
        ("unmap", true, Stage::unmap),
        ("drop contents", true, Stage::drop_contents),
        ("give up", false, Stage::give_up),
        ("end", true, Stage::end_parent),
        ("write back", false, Stage::write_back),
    ]
}

/// What one run came to.
#[derive(Default, Debug)]
struct Tally {
    runs: u64,
    failed: u64,
    lost: u64,
}

/// One run with a plan; the attempts that the operation made.
fn run<A: Arch>(which: usize, has_child: bool, what: Failing, plan: FailurePlan, tally: &mut Tally) -> u64 {
    let hosted = Hosted::<A>::new(&MachineConfig::with_nodes(2, 700, 2)).unwrap();
    // Half of the failures of allocations with the tier: the plans differ.
    let compresses = what == Failing::Compressor || what == Failing::Allocation && has_child;
    // Not dropped on the way out of a failure: the core may be in any state then.
    let mut stage = ManuallyDrop::new(Stage::<A>::new(&hosted, compresses, has_child));
    let (name, out, operation) = operations::<A>()[which];
    // Pages are damaged when they are compressed, and that shows later.
    let is_early = what == Failing::Compressor && out;
    if is_early {
        stage.set(what, plan);
    }
    if out {
        stage.put_out().unwrap();
    }
    let before = if is_early { 0 } else { stage.attempts(what) };
    if !is_early {
        stage.set(what, plan);
    }
    let counts_anew = !matches!(what, Failing::DeviceRead | Failing::DeviceWrite);
    stage.may_lose = what == Failing::Compressor;
    let result = operation(&mut stage);
    let attempts = stage.attempts(what) - if counts_anew { 0 } else { before };
    stage.set(what, FailurePlan::Never);
    // What cannot be read when an area is switched off is lost.
    stage.may_lose |= what == Failing::DeviceRead && name == "switch swap off";
    tally.runs += 1;
    match result {
        Ok(()) => stage.verify(),
        Err(error) => {
            tally.failed += 1;
            let may_be = match what {
                Failing::Allocation => error == Fails::Memory,
                Failing::DeviceWrite => false,
                _ => error == Fails::Io,
            };
            assert!(may_be, "it fails with {error:?}");
            stage.verify();
            if let Err(error) = operation(&mut stage) {
                assert!(error == Fails::Io && stage.may_lose, "again, with nothing failing: {error:?}");
            }
            stage.verify();
        }
    }
    tally.lost += stage.lost;
    if plan == FailurePlan::Never {
        assert_eq!(stage.lost, 0);
    }
    ManuallyDrop::into_inner(stage).end();
    attempts
}

/// Each failure of each operation.
fn sweep<A: Arch>(what: Failing) {
    let mut wrong = Vec::new();
    let mut tally = Tally::default();
    for which in 0..operations::<A>().len() {
        for has_child in [false, true] {
            let mut try_one = |plan| {
                let work = std::panic::AssertUnwindSafe(|| run::<A>(which, has_child, what, plan, &mut tally));
                std::panic::catch_unwind(work).map_err(|panic| {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
                    let (name, text) = (operations::<A>()[which].0, text.unwrap_or_default());
                    wrong.push(format!("{name}, {what:?} {plan:?}, child {has_child}: {text}"));
                })
            };
            let Ok(attempts) = try_one(FailurePlan::Never) else { continue };
            for number in 0..attempts {
                let _ = try_one(FailurePlan::Nth(number));
                let _ = try_one(FailurePlan::From(number));
            }
        }
    }
    println!("{}, {what:?}: {tally:?}", A::NAME);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), tally.runs, wrong.join("\n"));
}

fn sweep_all<A: Arch>() {
    ALL.into_iter().for_each(sweep::<A>);
}

#[test]
fn x86_64_survives() {
    sweep_all::<X86_64>();
}

#[test]
fn the_tiny_architecture_survives() {
    sweep_all::<Toy>();
}

#[test]
fn aarch64_survives_with_tags() {
    sweep_all::<Aarch64>();
}
