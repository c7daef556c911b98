//! Huge pages and who looks addresses up without a lock: nobody is interrupted on his account. And threads of which
//! each has a page of every huge one, whatever becomes of that.

use crate::toys::Toy;
use std::sync::atomic::{AtomicU64, Ordering};

use vellum::arch::{Aarch64, Arch, Prot, Sparc64, TinyBroadcast, X86_64};
use vellum::ops::{Advice, HugePages, MapRequest, Place};
use vellum::{Error, Event, Machine, Space};
use vellum_lab::hardware::MachineConfig;
use vellum_lab::host::Host;
use vellum_lab::hosted::Hosted;
use vellum_lab::swap_device::MemoryDevice;
use vellum_lab::threads::{CpuThread, Mmus, ThreadHost};

/// What one look at an address may find.
#[derive(Clone, Copy, PartialEq)]
enum Shows {
    Huge,
    Small,
    Nothing,
}

/// A space that CPU 0 runs, with `count` huge pages.
struct World<'h, A: Arch> {
    hosted: &'h Hosted<A>,
    space: Space<'h, Host<A>>,
    start: u64,
    huge: u64,
    cpus: usize,
}

impl<'h, A: Arch> World<'h, A> {
    fn new(hosted: &'h Hosted<A>, cpus: usize, count: u64) -> Self {
        hosted.vm().set_huge_pages(HugePages::Always);
        let space = hosted.vm().create_space().expect("memory");
        let huge = 1 << A::shift(1);
        let start = 2 * huge;
        space.map(&MapRequest::anonymous(count * huge, Prot::READ_WRITE).at(Place::Fixed(start))).expect("a mapping");
        let world = World { hosted, space, start, huge, cpus };
        for number in 0..count {
            hosted.store(0, &world.space, start + number * huge, &[1]).expect("a store");
        }
        assert_eq!(world.count(Event::HugeFault), count);
        world
    }

    fn count(&self, event: Event) -> u64 {
        self.hosted.vm().totals().get(event)
    }

    /// Every other CPU, which runs nothing, looks the address up and holds the page.
    fn look(&self, address: u64, shows: Shows) {
        for cpu in 1..self.cpus {
            self.hosted.on(cpu, || {
                let translation = self.space.translate(address);
                assert_eq!(translation.is_none(), shows == Shows::Nothing);
                let held = self.space.hold(address);
                assert_eq!(held.as_ref().map(|held| held.translation().pfn), translation.map(|to| to.pfn));
            });
        }
    }

    /// Runs `operation` on CPU 0 among looks of all others.
    fn among_looks(&self, address: u64, (before, after): (Shows, Shows), operation: impl FnOnce(&Self)) {
        self.look(address, before);
        self.hosted.on(0, || operation(self));
        self.look(address, after);
    }
}

/// What a huge page goes through, once for each of `count`, with walkers on all CPUs: interrupts, and flushes by
/// broadcast.
fn serialised<A: Arch>(cpus: usize, count: u64) -> (u64, u64) {
    let frames = 1024 + (count + 2) * (1 << (A::shift(1) - A::PAGE_SHIFT));
    let hosted = Hosted::<A>::new(&MachineConfig::new(cpus, frames)).expect("a machine");
    let world = World::new(&hosted, cpus, count);
    let page = 1 << A::PAGE_SHIFT;
    let flushes = world.count(Event::Broadcast);
    for number in 0..count {
        let here = world.start + number * world.huge;
        let protect = |world: &World<'_, A>, at: u64, length: u64, prot: Prot| {
            world.space.protect(at, length, prot).expect("rights");
        };
        // In place.
        world.among_looks(here + page, (Shows::Huge, Shows::Huge), |world| {
            protect(world, here, world.huge, Prot::READ);
            protect(world, here, world.huge, Prot::READ_WRITE);
        });
        assert_eq!(world.count(Event::SplitMapping), number / 2);
        if number % 2 == 0 {
            // Small pages where a huge one was discarded.
            world.among_looks(here + page, (Shows::Huge, Shows::Small), |world| {
                world.space.advise(here, world.huge, Advice::DontNeed).expect("a discard");
                world.look(here, Shows::Nothing);
                world.hosted.load(0, &world.space, here + page, 1).expect("a load");
            });
        } else {
            world.among_looks(here + page, (Shows::Huge, Shows::Small), |world| {
                protect(world, here, page, Prot::READ);
            });
        }
    }
    assert_eq!(hosted.take_violations(), []);
    (world.count(Event::InterruptSent), world.count(Event::Broadcast) - flushes)
}

/// Source thread 003: on a processor that does not interrupt to flush, discarding a huge page had to interrupt every
/// CPU that might be looking, lest it take the small pages' table for a page; a change of rights should not have to.
#[test]
fn nobody_is_interrupted_for_who_looks_without_a_lock() {
    assert_eq!(serialised::<Toy>(8, 8), (0, 0));
    assert_eq!(serialised::<X86_64>(8, 64), (0, 0));
    // Two for rights taken away and given back; one for the discard, or one for the split and one for its part's right.
    let (interrupts, broadcasts) = serialised::<TinyBroadcast>(3, 8);
    assert_eq!(interrupts, 0);
    assert!(broadcasts <= 8 * 4, "{broadcasts} flushes for 8 huge pages");
}

/// A huge page that was clean is stored to by a processor, which notes that in its entry; then it is cut.
fn noted_and_cut<A: Arch>() {
    let (page, huge) = (1 << A::PAGE_SHIFT, 1u64 << A::shift(1));
    let hosted = Hosted::<A>::new(&MachineConfig::new(1, 1024 + 4 * (huge / page))).expect("a machine");
    let world = World::new(&hosted, 1, 1);
    let (space, start) = (&world.space, world.start);
    space.advise(start, huge, Advice::Free).expect("advice");
    for address in (start..start + huge).step_by(page as usize) {
        hosted.store(0, space, address, &[(address / page) as u8]).expect("a store");
    }
    assert_eq!(world.count(Event::SplitMapping), 0);
    space.advise(start + page, page, Advice::DontNeed).expect("a discard");
    assert_eq!(world.count(Event::SplitMapping), 1);
    for address in (start..start + huge).step_by(page as usize).filter(|&address| address != start + page) {
        assert_eq!(hosted.load(0, space, address, 1), Ok(vec![(address / page) as u8]), "{}: {address:#x}", A::NAME);
    }
    assert_eq!(hosted.take_violations(), []);
}

#[test]
fn what_a_processor_notes_in_a_huge_page_stays_with_its_parts() {
    noted_and_cut::<Toy>();
    noted_and_cut::<TinyBroadcast>();
    noted_and_cut::<X86_64>();
    noted_and_cut::<Aarch64>();
    noted_and_cut::<Sparc64>();
}

/// How often threads began to give all pages of a huge one their rights, and how often they had done so.
#[derive(Default)]
struct Given {
    begun: AtomicU64,
    done: AtomicU64,
}

/// Threads of which each has the pages `number`, `number + THREADS`, … of a mapping, and knows what they hold.
struct Owner<'w, 'h, A: Arch> {
    cpu: &'w CpuThread<'h, A>,
    space: &'w Space<'h, Host<A>>,
    /// By huge page.
    given: &'w [Given],
    /// Whether pages also go to swap, move between nodes, and become huge ones again.
    moving: bool,
    number: u64,
    random: fastrand::Rng,
    holds: Vec<u64>,
    /// Pages that were held for a device.
    held: u64,
}

const THREADS: u64 = 4;
/// The number of the first huge page.
const FIRST: u64 = 2;

impl<A: Arch> Owner<'_, '_, A> {
    fn address(start: u64, number: u64, index: usize) -> u64 {
        start + ((index as u64 * THREADS + number) << A::PAGE_SHIFT)
    }

    fn check(&self, space: &Space<'_, Host<A>>, address: u64, expected: u64) {
        let bytes = self.cpu.load(space, address, 8).expect("a page that is mapped can be loaded from");
        let found = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        assert_eq!(found, expected, "{}, thread {}, {address:#x}", A::NAME, self.number);
    }

    fn run(&mut self, start: u64, operations: u64) {
        for round in 1..=operations {
            let index = self.random.usize(..self.holds.len());
            let address = Self::address(start, self.number, index);
            self.operate(index, address, round * THREADS + self.number);
        }
    }

    /// Does something with a page, or with all of the huge one that it is a part of; `value` was stored nowhere before.
    fn operate(&mut self, index: usize, address: u64, value: u64) {
        let page = 1 << A::PAGE_SHIFT;
        let huge = 1 << A::shift(1);
        let whole = address & !(huge - 1);
        match self.random.u32(..if self.moving { 25 } else { 20 }) {
            0..8 => {
                self.cpu.store(self.space, address, &value.to_ne_bytes()).expect("a store");
                self.holds[index] = value;
            }
            8..14 => self.check(self.space, address, self.holds[index]),
            14 | 15 => {
                self.space.advise(address, page, Advice::DontNeed).expect("a discard");
                self.holds[index] = 0;
            }
            16 => self.take_right(index, address, value),
            17 => {
                let child = self.space.fork().expect("memory");
                self.check(&child, address, self.holds[index]);
                self.cpu.store(&child, address, &[0xff; 8]).expect("a store");
                self.cpu.switch_to(self.space);
            }
            18 => {
                // All the others' pages of it, too, among them one that its owner may just have made read-only.
                let given = &self.given[self.number_of(address)];
                given.begun.fetch_add(1, Ordering::SeqCst);
                self.space.protect(whole, huge, Prot::READ_WRITE).expect("rights");
                given.done.fetch_add(1, Ordering::SeqCst);
            }
            19 => self.hold(index, address),
            20 => match self.space.advise(whole, huge, Advice::Collapse) {
                Ok(()) | Err(Error::Busy { .. } | Error::OutOfMemory | Error::Invalid { .. }) => {}
                Err(error) => panic!("{error}"),
            },
            21 => self.space.advise(whole, huge, Advice::PageOut).expect("advice"),
            22 => self.space.advise(address, page, Advice::PageOut).expect("advice"),
            23 => _ = self.space.vm().reclaim(self.random.u8(..2), self.random.u64(1..64)),
            _ => _ = self.space.move_pages(whole, huge, self.random.u8(..2)).expect("a range"),
        }
    }

    /// Which huge page an address lies in.
    fn number_of(&self, address: u64) -> usize {
        ((address >> A::shift(1)) - FIRST) as usize
    }

    /// A store is refused where this thread took the right, unless another one gave it back meanwhile.
    fn take_right(&mut self, index: usize, address: u64, value: u64) {
        let page = 1 << A::PAGE_SHIFT;
        let given = &self.given[self.number_of(address)];
        let done = given.done.load(Ordering::SeqCst);
        self.space.protect(address, page, Prot::READ).expect("rights");
        if self.cpu.store(self.space, address, &value.to_ne_bytes()).is_ok() {
            assert!(given.begun.load(Ordering::SeqCst) > done, "nobody gave the right back");
            self.holds[index] = value;
        }
        self.space.protect(address, page, Prot::READ_WRITE).expect("rights");
    }

    /// Who holds a page for a device finds there what its owner stored.
    fn hold(&mut self, index: usize, address: u64) {
        let Some(held) = self.space.hold(address) else {
            let is_gone = self.moving || self.holds[index] == 0;
            assert!(is_gone, "{}, thread {}, {address:#x}: a page that was stored to is there", A::NAME, self.number);
            return;
        };
        self.held += 1;
        let frame = self.space.vm().machine().frame(held.translation().pfn);
        // SAFETY: the reference keeps the page, and nobody but this thread stores to its first word.
        let found = unsafe { frame.cast::<u64>().read_volatile() };
        assert_eq!(found, self.holds[index], "{}, thread {}, {address:#x}", A::NAME, self.number);
    }
}

/// `moving`: whether pages also go to swap, move between nodes, and become huge ones again. How many huge ones went to
/// swap as wholes, how many were allocated for a collapse, and how many pages moved.
fn threads_own_parts<A: Arch>(seed: u64, count: u64, operations: u64, moving: bool) -> [u64; 3] {
    let pages = count << (A::shift(1) - A::PAGE_SHIFT);
    let config = MachineConfig::with_nodes(THREADS as usize, 2 * (2048 + 12 * pages), 2);
    let host = ThreadHost::<A>::new(&config, Mmus::Simulated).expect("a machine");
    host.machine().check_frames(true);
    let main = host.enter(0);
    let vm = host.vm();
    vm.set_huge_pages(HugePages::Always);
    vm.swap_on(MemoryDevice::new(8 * pages, 1 << A::PAGE_SHIFT), 0).expect("an area");
    let space = vm.create_space().expect("a space");
    let start = FIRST << A::shift(1);
    let request = MapRequest::anonymous(pages << A::PAGE_SHIFT, Prot::READ_WRITE).at(Place::Fixed(start));
    space.map(&request).expect("a mapping");
    for number in 0..count {
        main.store(&space, start + (number << A::shift(1)), &[0]).expect("a store");
    }
    drop(main);
    let given: Vec<Given> = (0..count).map(|_| Given::default()).collect();
    let held = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let (host, space, given, held) = (&host, &space, &given, &held);
            scope.spawn(move || {
                let cpu = host.enter(number as usize);
                let random = fastrand::Rng::with_seed(seed * THREADS + number);
                let holds = vec![0; (pages / THREADS) as usize];
                let mut owner = Owner { cpu: &cpu, space, given, moving, number, random, holds, held: 0 };
                owner.run(start, operations);
                for (index, &value) in owner.holds.iter().enumerate() {
                    owner.check(space, Owner::<A>::address(start, number, index), value);
                }
                held.fetch_add(owner.held, Ordering::Relaxed);
            });
        }
    });
    let main = host.enter(0);
    vm.quiesce();
    // SAFETY: the threads have ended.
    unsafe { vm.audit() }.unwrap_or_else(|error| panic!("{}, seed {seed}: {error}", A::NAME));
    assert_eq!(host.machine().take_violations(), [], "{}, seed {seed}", A::NAME);
    let totals = vm.totals();
    let has = |event| totals.get(event) > 0;
    assert!(has(Event::HugeFault) && has(Event::SplitMapping) && held.into_inner() > 0, "{}", A::NAME);
    drop(space);
    vm.quiesce();
    // SAFETY: the threads have ended.
    let audit = unsafe { vm.audit() }.unwrap_or_else(|error| panic!("{}, seed {seed}: {error}", A::NAME));
    assert_eq!((audit.tables, audit.mapped_pages), (0, 0));
    drop(main);
    [Event::HugeSwapOut, Event::CollapseAlloc, Event::MigrateSuccess].map(|event| totals.get(event))
}

#[test]
fn threads_find_what_they_stored_in_parts_of_huge_pages() {
    for seed in 0..20 {
        threads_own_parts::<Toy>(seed, 4, 300, false);
    }
    threads_own_parts::<X86_64>(1, 2, 5_000, false);
    threads_own_parts::<Aarch64>(2, 2, 2_000, false);
}

#[test]
fn threads_find_what_they_stored_in_huge_pages_that_move() {
    let mut moved = [0; 3];
    for seed in 0..20 {
        let more = threads_own_parts::<Toy>(seed, 4, 300, true);
        moved.iter_mut().zip(more).for_each(|(moved, more)| *moved += more);
    }
    assert!(moved.iter().all(|&moved| moved > 0), "{moved:?}");
    threads_own_parts::<X86_64>(1, 2, 2_000, true);
    threads_own_parts::<Aarch64>(2, 2, 1_000, true);
    threads_own_parts::<Sparc64>(5, 2, 1_000, true);
}
