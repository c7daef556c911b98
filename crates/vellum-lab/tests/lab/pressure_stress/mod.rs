//! Programs on four threads with more memory than the machine has: they map, unmap, protect, move, fork, end, and check
//! what they load, also where the kernel stored it for them, while pages go to swap and come back, move between nodes,
//! are given up, files are made shorter and longer and written back, and swap is switched off and on. Devices interrupt
//! them in the middle of the core, and take the lock of a scheduler that switches. Afterwards the core's recount finds
//! nothing wrong.
//!
//! `VELLUM_STRESS` says how many operations; the long form, which is ignored, makes ten millions on its own.

mod files;

use files::File;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use vellum::arch::{Aarch64, Arch, Prot, X86_64};
use vellum::ops::{Advice, CollapseLimits, HugePages, MapFlags, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use vellum::{AreaId, Error, Event, NodeSet, Object, Policy, Space};
use vellum_lab::AccessError;
use vellum_lab::hardware::MachineConfig;
use vellum_lab::host::Host;
use vellum_lab::swap_device::MemoryDevice;
use vellum_lab::threads::interrupts::RunQueue;
use vellum_lab::threads::{CpuThread, Mmus, ThreadHost};

const PAGE: u64 = 4096;
const CPUS: usize = 4;
/// A program's own memory, and the machine's.
#[derive(Clone, Copy)]
struct Layout {
    /// Two places for it, between which it moves.
    bases: [u64; 2],
    /// In pages.
    own: usize,
    /// The most of it that an operation changes at once.
    part_max: usize,
    /// Of the machine: programs want about twice as many.
    frames: u64,
    /// Of a device for swap.
    slots: u64,
    /// A program forks, or ends, at one of so many of the turns that are for that: the later, the more memory it gets
    /// to have.
    ages: u32,
}

/// All of it in one leaf or two.
const SMALL: Layout =
    Layout { bases: [16 * PAGE, 72 * PAGE], own: 40, part_max: 12, frames: 560, slots: 2000, ages: 1 };
const HUGE_PAGE: u64 = 2 << 20;
/// Two huge pages.
const HUGE: Layout =
    Layout { bases: [2 * HUGE_PAGE, 6 * HUGE_PAGE], own: 1024, part_max: 1024, frames: 3500, slots: 16_000, ages: 20 };
/// What all programs share: every thread stores to its own pages of it.
const SHARED: u64 = 128 * PAGE;
const FILE: u64 = 160 * PAGE;
const COMMON: u64 = 192 * PAGE;
/// A file whose length changes.
const CHANGING: u64 = 224 * PAGE;
const EACH: u64 = 7;
/// About one in so many accesses of the core is interrupted.
const INTERRUPTED: u32 = 300;
/// Nobody holds the run queue as long as this.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a page of a program's own memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Unmapped,
    Guarded,
    /// This value, at the beginning and the end.
    Value(u64),
    /// That, or 0: it was given up.
    Perhaps(u64),
}

impl Holds {
    /// Whether every access faults.
    fn is_absent(self) -> bool {
        matches!(self, Holds::Unmapped | Holds::Guarded)
    }
}

/// A program of one thread, and what it must find.
struct Program<'h, A: Arch> {
    space: Space<'h, Host<A>>,
    /// Where its memory is.
    base: u64,
    own: Vec<Holds>,
    /// The tags of the pages' first granules, where memory has tags.
    tags: Vec<u8>,
    /// The rights of all its memory.
    may_store: bool,
}

/// What threads share.
struct World<'w, 'h, A: Arch> {
    layout: Layout,
    host: &'h ThreadHost<A>,
    memory: &'w Object<'h, Host<A>>,
    file: &'w Object<'h, Host<A>>,
    file_backing: File,
    changing: &'w Object<'h, Host<A>>,
    changing_backing: File,
    /// Of the changing file, in pages; held by whom changes it.
    length: Mutex<u64>,
    run_queue: RunQueue,
    /// A space that all threads run in.
    common: &'w Space<'h, Host<A>>,
    area: &'w Mutex<Option<AreaId>>,
    left: &'w AtomicU64,
    starved: &'w AtomicU64,
    /// Write-backs whose promise was compared with the backing.
    promises: AtomicU64,
    /// Interrupts of devices.
    interrupts: AtomicU64,
}

/// One thread.
struct Worker<'w, 'h, A: Arch> {
    world: &'w World<'w, 'h, A>,
    cpu: &'w CpuThread<'h, A>,
    number: u64,
    random: fastrand::Rng,
    value: u64,
    programs: Vec<Program<'h, A>>,
    /// What this thread's pages of shared memory, the file and the common space hold.
    shared: [[u64; EACH as usize]; 3],
    /// What its pages of the changing file hold, unless they were cut off since: then 0.
    changing: [u64; EACH as usize],
}

/// Whether it happened; memory may be short at any time.
fn done<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::OutOfMemory) => None,
        Err(error) => panic!("{error}"),
    }
}

impl<'w, 'h, A: Arch> Worker<'w, 'h, A> {
    fn page(&mut self) -> usize {
        self.random.usize(..self.world.layout.own)
    }

    /// Whether an access happened.
    fn happened<T>(&self, result: Result<T, AccessError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if error.is_out_of_memory() => {
                self.world.starved.fetch_add(1, Relaxed);
                None
            }
            Err(error) => panic!("thread {}: {error}", self.number),
        }
    }

    /// Maps the shared things and a program's own memory into a new space.
    fn begin(&mut self) -> Option<Program<'h, A>> {
        let space = done(self.world.host.vm().create_space())?;
        map_shared(&space, [self.world.memory, self.world.file, self.world.changing])?;
        let tags = if A::SEMANTICS.tags.is_some() { MapFlags::TAGGED } else { MapFlags::NONE };
        let Layout { bases: [base, _], own, .. } = self.world.layout;
        let request = MapRequest::anonymous(own as u64 * PAGE, Prot::READ_WRITE).at(Place::Fixed(base)).with(tags);
        done(space.map(&request))?;
        Some(Program { space, base, own: vec![Holds::Value(0); own], tags: vec![0; own], may_store: true })
    }

    fn store(&mut self, program: usize) {
        let page = self.page();
        let this = &self.programs[program];
        let address = this.base + page as u64 * PAGE;
        if this.own[page].is_absent() || !this.may_store {
            let result = self.cpu.store(&this.space, address, &[1]);
            assert!(result.unwrap_err().is_segv(), "a store to page {page}, which {:?}", this.own[page]);
            return;
        }
        self.value += CPUS as u64;
        let bytes = self.value.to_ne_bytes();
        // The end first: a store that fails has changed nothing, the second cannot be told from none.
        let old = this.own[page];
        if self.happened(self.cpu.store(&this.space, address + PAGE - 8, &bytes)).is_none() {
            return;
        }
        assert!(!old.is_absent());
        let store =
            |cpu: &CpuThread<'_, A>, space: &Space<'_, Host<A>>, tag| cpu.store_tagged(space, address, &bytes, tag);
        let mut tries = 0;
        while self.with_tag(program, page, store).is_none() {
            tries += 1;
            assert!(tries < 10_000, "no memory for a page that was there a moment ago");
        }
        self.programs[program].own[page] = Holds::Value(self.value);
        if A::SEMANTICS.tags.is_some() && self.random.u32(..4) == 0 {
            let (tag, this) = (self.random.u8(..16), &self.programs[program]);
            if self.happened(self.cpu.set_tag(&this.space, address, 16, tag)).is_some() {
                self.programs[program].tags[page] = tag;
            }
        }
    }

    /// Makes an access to the first granule of a page with the tag that it bears. A page that was given up may have
    /// lost its tags with its contents.
    fn with_tag<T>(
        &mut self,
        program: usize,
        page: usize,
        access: impl Fn(&CpuThread<'_, A>, &Space<'_, Host<A>>, u8) -> Result<T, AccessError>,
    ) -> Option<T> {
        let this = &mut self.programs[program];
        let mut result = access(self.cpu, &this.space, this.tags[page]);
        if let (Err(AccessError::Tag { found: 0, .. }), Holds::Perhaps(_)) = (&result, this.own[page]) {
            this.tags[page] = 0;
            result = access(self.cpu, &this.space, 0);
        }
        self.happened(result)
    }

    fn load(&mut self, program: usize, page: usize) {
        let this = &self.programs[program];
        let address = this.base + page as u64 * PAGE;
        if this.own[page].is_absent() {
            let result = self.cpu.load(&this.space, address, 1);
            assert!(result.unwrap_err().is_segv(), "a load of page {page}, which {:?}", this.own[page]);
            return;
        }
        let load = |cpu: &CpuThread<'_, A>, space: &Space<'_, Host<A>>, tag| cpu.load_tagged(space, address, 8, tag);
        let Some(first) = self.with_tag(program, page, load) else { return };
        let this = &self.programs[program];
        let Some(last) = self.happened(self.cpu.load(&this.space, address + PAGE - 8, 8)) else { return };
        let values = [first, last].map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap()));
        let is_right = match this.own[page] {
            Holds::Value(value) => values == [value, value],
            // It may go between the loads.
            Holds::Perhaps(value) => values == [value, value] || values == [0, 0] || values == [value, 0],
            Holds::Unmapped | Holds::Guarded => false,
        };
        assert!(is_right, "thread {}: page {page} holds {values:x?}: {:x?}", self.number, this.own[page]);
    }

    /// Stores to and loads from a page of what threads share, in its own space or the common one.
    fn share(&mut self, program: usize) {
        let (which, index) = (self.random.usize(..3), self.random.u64(..EACH));
        let page = index * CPUS as u64 + self.number;
        let address = [SHARED, FILE, COMMON][which] + page * PAGE + 8 * self.random.u64(..4);
        let address = address & !31;
        let own = &self.programs[program].space;
        let space = if which == 2 || self.random.bool() { self.world.common } else { own };
        let expected = self.shared[which][index as usize];
        if let Some(found) = self.happened(self.load_word(space, address)) {
            assert_eq!(found, expected, "thread {}: {which}, page {page}", self.number);
        }
        if self.random.bool() {
            self.value += CPUS as u64;
            if self.happened(self.store_word(space, address, self.value)).is_some() {
                self.shared[which][index as usize] = self.value;
            }
        }
    }

    /// A part of a program's own memory: first page, and how many.
    fn part(&mut self) -> (usize, usize) {
        let Layout { own, part_max, .. } = self.world.layout;
        let first = self.page();
        // Half of them are small.
        let limit = if self.random.bool() { part_max } else { 12 };
        (first, 1 + self.random.usize(..(own - first).min(limit)))
    }

    fn remap(&mut self, program: usize) {
        let (first, count) = self.part();
        let (start, length) = (self.programs[program].base + first as u64 * PAGE, count as u64 * PAGE);
        if self.random.bool() {
            if done(self.programs[program].space.unmap(start, length)).is_some() {
                self.programs[program].own[first..first + count].fill(Holds::Unmapped);
                self.programs[program].tags[first..first + count].fill(0);
            }
            return;
        }
        let prot = if self.programs[program].may_store { Prot::READ_WRITE } else { Prot::READ };
        let tags = if A::SEMANTICS.tags.is_some() { MapFlags::TAGGED } else { MapFlags::NONE };
        let mut again = MapRequest::anonymous(length, prot).at(Place::Fixed(start)).with(tags);
        again.max_prot = Prot::READ_WRITE;
        if done(self.programs[program].space.map(&again)).is_some() {
            self.programs[program].own[first..first + count].fill(Holds::Value(0));
            self.programs[program].tags[first..first + count].fill(0);
        }
    }

    /// Moves all of a program's memory to its other place, piece by piece as it is mapped.
    fn shift(&mut self, program: usize) {
        let this = &mut self.programs[program];
        if this.own.contains(&Holds::Unmapped) {
            return;
        }
        let Layout { bases, own, .. } = self.world.layout;
        let (to, own) = (if this.base == bases[0] { bases[1] } else { bases[0] }, own as u64);
        let mut maps = Vec::new();
        this.space.maps(&mut |map| maps.push(*map));
        let pieces: Vec<_> =
            maps.iter().filter(|map| (this.base..this.base + own * PAGE).contains(&map.start)).collect();
        let [piece] = pieces[..] else { return };
        let length = piece.end - piece.start;
        assert_eq!((piece.start, length), (this.base, own * PAGE));
        let place = RemapPlace::Fixed(to);
        let request = RemapRequest { old: this.base, old_length: length, new_length: length, place, keep_old: false };
        match this.space.remap(&request) {
            Ok(_) => this.base = to,
            // The parts differ in how they were moved before.
            Err(Error::OutOfMemory | Error::NotMapped { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn protect(&mut self, program: usize) {
        let this = &mut self.programs[program];
        if this.own.contains(&Holds::Unmapped) {
            return;
        }
        let prot = if this.may_store { Prot::READ } else { Prot::READ_WRITE };
        let length = self.world.layout.own as u64 * PAGE;
        if done(this.space.protect(this.base, length, prot)).is_some() {
            this.may_store = !this.may_store;
        }
    }

    fn fork(&mut self, program: usize) {
        if self.random.u32(..self.world.layout.ages) > 0 {
            return;
        }
        if self.programs.len() > 2 {
            let last = self.programs.swap_remove(program);
            drop(last);
            return;
        }
        let this = &self.programs[program];
        if let Some(space) = done(this.space.fork()) {
            let (own, tags) = (this.own.clone(), this.tags.clone());
            let child = Program { space, base: this.base, own, tags, may_store: this.may_store };
            self.programs.push(child);
        }
    }

    fn advise(&mut self, program: usize) {
        let (first, count) = self.part();
        let this = &mut self.programs[program];
        let pages = &mut this.own[first..first + count];
        if pages.contains(&Holds::Unmapped) {
            return;
        }
        let advice = self.random.choice([
            Advice::PageOut,
            Advice::PageOut,
            Advice::PageOut,
            Advice::Cold,
            Advice::DontNeed,
            Advice::Free,
            Advice::WillNeed,
            Advice::Collapse,
            Advice::GuardInstall,
            Advice::GuardRemove,
        ]);
        let Some(advice) = advice else { return };
        // Noted before, as what is given up may go at once.
        let result = match this.space.advise(this.base + first as u64 * PAGE, count as u64 * PAGE, advice) {
            Err(Error::Busy { .. } | Error::Invalid { .. }) if advice == Advice::Collapse => None,
            result => done(result),
        };
        match (advice, result) {
            (Advice::DontNeed, Some(())) => {
                pages.iter_mut().filter(|page| **page != Holds::Guarded).for_each(|page| *page = Holds::Value(0));
                this.tags[first..first + count].fill(0);
            }
            (Advice::GuardInstall, Some(())) => {
                pages.fill(Holds::Guarded);
                this.tags[first..first + count].fill(0);
            }
            (Advice::GuardRemove, Some(())) => {
                pages.iter_mut().filter(|page| **page == Holds::Guarded).for_each(|page| *page = Holds::Value(0));
            }
            (Advice::Free, _) => pages.iter_mut().for_each(|page| match *page {
                Holds::Value(value) if value != 0 => *page = Holds::Perhaps(value),
                _ => {}
            }),
            _ => {}
        }
    }

    /// What an embedder, or an administrator, does.
    fn administrate(&mut self, program: usize) {
        let vm = self.world.host.vm();
        let node = self.random.u8(..2);
        match self.random.u32(..100) {
            0..40 => {
                vm.reclaim(node, self.random.u64(1..40));
            }
            40..60 => {
                vm.reclaim_background();
            }
            60..80 => {
                let space = if self.random.bool() { self.world.common } else { &self.programs[program].space };
                let Layout { bases, own, .. } = self.world.layout;
                let places = [(bases[0], own as u64), (SHARED, 28), (COMMON, 28)];
                let (start, pages) = self.random.choice(places).unwrap();
                space.move_pages(start, pages * PAGE, node).expect("a range of the user's");
            }
            80..88 => {
                vm.compact(node, self.random.u8(..4));
            }
            88 => {
                vm.collapse(self.random.u64(1..8), &CollapseLimits::default());
            }
            89..93 => {
                let both = NodeSet::EMPTY.with(0).with(1);
                let policy =
                    self.random.choice([Policy::Local, Policy::Preferred(1), Policy::Interleave(both)]).unwrap();
                done(self.world.common.set_policy(COMMON, 28 * PAGE, policy));
            }
            93..96 => self.write_back(),
            96..98 => self.change_length(),
            _ => self.switch_swap(),
        }
    }

    /// What a scheduler does: it turns to a program with its run queue locked and interrupts off.
    fn schedule(&mut self, program: usize) {
        let space = if self.random.bool() { self.world.common } else { &self.programs[program].space };
        self.world.run_queue.with(|| self.cpu.switch_to(space)).unwrap_or_else(|_| deadlock("a switch"));
    }

    fn switch_swap(&mut self) {
        let vm = self.world.host.vm();
        let Ok(mut area) = self.world.area.try_lock() else { return };
        match *area {
            Some(id) if self.random.u32(..4) == 0 => match vm.swap_off(id) {
                Ok(()) => *area = None,
                Err(Error::OutOfMemory) => {}
                Err(error) => panic!("{error}"),
            },
            Some(_) => {}
            None => *area = done(vm.swap_on(device(&self.world.layout), 0)),
        }
    }

    fn run(&mut self) {
        while self.world.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            self.cpu.poll();
            if self.programs.is_empty() {
                let new = self.begin();
                self.programs.extend(new);
                continue;
            }
            let program = self.random.usize(..self.programs.len());
            match self.random.u32(..1000) {
                0..380 => self.store(program),
                380..700 => {
                    let page = self.page();
                    self.load(program, page);
                }
                700..780 => self.share(program),
                780..810 => self.use_changing(program),
                810..820 => self.schedule(program),
                820..860 => self.remap(program),
                860..870 => self.shift(program),
                870..885 => self.protect(program),
                885..905 => self.fork(program),
                905..960 => self.advise(program),
                _ => self.administrate(program),
            }
        }
        for program in 0..self.programs.len() {
            (0..self.world.layout.own).for_each(|page| self.load(program, page));
        }
        self.programs.clear();
    }
}

/// Ends the tests: threads that wait for each other cannot be joined.
fn deadlock(who: &str) -> ! {
    eprintln!("{who} waits for the run queue for ever: whoever has it locked waits for who was interrupted");
    std::process::abort();
}

fn device(layout: &Layout) -> MemoryDevice {
    MemoryDevice::new(layout.slots, PAGE as usize)
}

fn map_shared<'h, A: Arch>(space: &Space<'h, Host<A>>, objects: [&Object<'h, Host<A>>; 3]) -> Option<()> {
    let length = EACH * CPUS as u64 * PAGE;
    for (object, address) in objects.into_iter().zip([SHARED, FILE, CHANGING]) {
        let request = MapRequest::object(object, 0, Sharing::Shared, length, Prot::READ_WRITE);
        done(space.map(&request.at(Place::Fixed(address))))?;
    }
    Some(())
}

/// `orders`: of which sizes folios of several pages come ([`Vm::set_folio_orders`](vellum::Vm::set_folio_orders)).
fn stress<A: Arch>(layout: Layout, operations: u64, seed: u64, compressed_frames: u64, orders: u32) {
    let begun = Instant::now();
    let (file_backing, changing_backing) = (File::new(), File::new());
    let config = MachineConfig::with_nodes(CPUS, layout.frames, 2);
    let host = ThreadHost::<A>::new(&config, Mmus::Simulated).expect("a machine");
    host.machine().check_frames(true);
    let main = host.enter(0);
    let vm = host.vm();
    vm.set_compressed_limit(compressed_frames);
    vm.set_huge_pages(HugePages::Always);
    vm.set_folio_orders(orders);
    let area = Mutex::new(Some(vm.swap_on(device(&layout), 0).expect("an area")));
    let memory = vm.shared_memory(files::PAGES).expect("memory");
    let [file, changing] = [&file_backing, &changing_backing].map(|backing| vm.file(backing.clone()).expect("memory"));
    let objects = [memory, file, changing];
    let spaces = [vm.create_space().expect("memory")];
    let ([memory, file, changing], common) = (objects.each_ref(), &spaces[0]);
    map_shared(common, [memory, file, changing]).expect("memory");
    let length = EACH * CPUS as u64 * PAGE;
    common.map(&MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(COMMON))).expect("memory");
    drop(main);
    let (left, starved) = (AtomicU64::new(operations), AtomicU64::new(0));
    let world = World {
        layout,
        host: &host,
        memory,
        file,
        file_backing: file_backing.clone(),
        changing,
        changing_backing: changing_backing.clone(),
        length: Mutex::new(files::PAGES),
        run_queue: RunQueue::new(PATIENCE),
        common,
        area: &area,
        left: &left,
        starved: &starved,
        promises: AtomicU64::new(0),
        interrupts: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        for number in 0..CPUS {
            let world = &world;
            scope.spawn(move || {
                let cpu = world.host.enter(number);
                let run_queue = world.run_queue.clone();
                let wake = move || run_queue.with(|| ()).unwrap_or_else(|_| deadlock("the handler of a device"));
                let seed = seed * 1000 + number as u64;
                let interrupted = cpu.interrupt_at_random(seed, INTERRUPTED, wake);
                let mut worker = Worker {
                    world,
                    cpu: &cpu,
                    number: number as u64,
                    random: fastrand::Rng::with_seed(seed),
                    value: number as u64,
                    programs: Vec::new(),
                    shared: [[0; EACH as usize]; 3],
                    changing: [0; EACH as usize],
                };
                worker.run();
                world.interrupts.fetch_add(interrupted.taken(), Relaxed);
            });
        }
    });
    let main = host.enter(0);
    vm.quiesce();
    // SAFETY: the threads have ended.
    unsafe { vm.audit() }.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(host.machine().take_violations(), []);
    let totals = vm.totals();
    let of = |event| totals.get(event);
    println!(
        "{}: {operations} operations, seed {seed}, {:.1} s: {} out, {} in, {} compressed, {} moved, {} given up and \
         freed, {} folios, {} split, {} stalls, {} accesses without memory, {} interrupts of devices, {} promises of write-back kept",
        A::NAME,
        begun.elapsed().as_secs_f64(),
        of(Event::SwapOut),
        of(Event::SwapIn),
        of(Event::CompressedOut),
        of(Event::MigrateSuccess),
        of(Event::LazyFreed),
        of(Event::FolioFault),
        of(Event::SplitFolio),
        of(Event::AllocationStall),
        starved.load(Relaxed),
        world.interrupts.load(Relaxed),
        world.promises.load(Relaxed),
    );
    assert!(of(Event::SwapOut) + of(Event::CompressedOut) > 0 && of(Event::MigrateSuccess) > 0);
    let has_huge = layout.own as u64 > HUGE_PAGE / PAGE;
    assert!(!has_huge || of(Event::HugeFault) > 0);
    assert_eq!(of(Event::SplitFolio) > 0, orders != 0 || has_huge);
    assert!(world.interrupts.load(Relaxed) > 0 && world.promises.load(Relaxed) > 0);
    [&file_backing, &changing_backing].into_iter().for_each(File::be_reliable);
    drop((spaces, objects));
    vm.quiesce();
    // SAFETY: the threads have ended.
    let audit = unsafe { vm.audit() }.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(audit.swap, Default::default(), "swap is in use after the end");
    drop(main);
}

fn count(default: u64) -> u64 {
    std::env::var("VELLUM_STRESS").map_or(default, |text| text.parse().expect("VELLUM_STRESS is a number"))
}

#[test]
fn x86_64_stays_right_under_pressure() {
    stress::<X86_64>(SMALL, count(100_000), 1, 0, 0);
}

#[test]
fn x86_64_stays_right_with_a_compressed_tier() {
    stress::<X86_64>(SMALL, count(100_000), 2, 100, 0);
}

#[test]
fn x86_64_stays_right_with_folios_of_several_pages() {
    stress::<X86_64>(SMALL, count(100_000), 4, 100, 1 << 1 | 1 << 3);
}

#[test]
fn x86_64_stays_right_with_huge_pages() {
    stress::<X86_64>(HUGE, count(100_000), 5, 0, 1 << 3);
}

#[test]
fn aarch64_stays_right_with_huge_pages() {
    // So many that some folios are split: two or three in sixty thousand.
    stress::<Aarch64>(HUGE, count(400_000), 6, 500, 0);
}

#[test]
fn aarch64_stays_right_under_pressure() {
    stress::<Aarch64>(SMALL, count(100_000), 3, 100, 0);
}

#[test]
#[ignore = "takes long"]
fn ten_million_operations() {
    for round in 0..10 {
        let orders = if round % 3 == 0 { 0 } else { 1 << 1 | 1 << 3 };
        let layout = if round % 5 == 4 { HUGE } else { SMALL };
        let (operations, compressed) = (count(10_000_000) / 10, if round % 2 == 0 { 0 } else { 100 });
        match round % 5 {
            // With tags.
            3 => stress::<Aarch64>(layout, operations, 100 + round, compressed, orders),
            _ => stress::<X86_64>(layout, operations, 100 + round, compressed, orders),
        }
    }
}
