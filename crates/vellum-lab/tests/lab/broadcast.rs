//! Architectures whose flush is a broadcast: no interrupts, identifiers that roll over, entries broken before they are
//! made anew.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, TryLockError};
use vellum::arch::{Arch, PageBits, Prot, TinyBroadcast, index};
use vellum::ops::{Access, Advice, MapRequest, Place};
use vellum::phys::{Kind, Pfn};
use vellum::{Asid, Event, RootLoad, Space};
use vellum_lab::hardware::{Bus, Checks, FrameKinds, HostMemory, MachineConfig, Mmu, ViolationLog};
use vellum_lab::hosted::Hosted;
use vellum_lab::threads::{CpuThread, Mmus, ThreadHost};

const PAGE: u64 = 4096;
const CPUS: usize = 3;

type Host = ThreadHost<TinyBroadcast>;
type Shared<'vm> = Space<'vm, vellum_lab::host::Host<TinyBroadcast>>;

fn fixed<M: vellum::Machine>(address: u64, pages: u64) -> MapRequest<'static, 'static, M> {
    MapRequest::anonymous(pages * PAGE, Prot::READ_WRITE).at(Place::Fixed(address))
}

#[test]
fn many_spaces_take_turns_without_interrupts() {
    let hosted = Hosted::<TinyBroadcast>::new(&MachineConfig::new(CPUS, 1024)).expect("a machine");
    let spaces: Vec<_> = (0..9).map(|_| hosted.vm().create_space().expect("a space")).collect();
    for space in &spaces {
        space.map(&fixed(PAGE, 2)).expect("room");
    }
    for round in 0..60u8 {
        let (cpu, space) = (round as usize % CPUS, &spaces[round as usize % 7 + usize::from(round) / 40]);
        hosted.store(cpu, space, PAGE, &[round]).expect("mapped");
        hosted.enter_lazy(cpu);
        assert_eq!(hosted.load((cpu + 1) % CPUS, space, PAGE, 1), Ok(vec![round]));
        hosted.on((cpu + 2) % CPUS, || space.unmap(PAGE, PAGE)).expect("no error");
        assert!((0..CPUS).all(|cpu| hosted.load(cpu, space, PAGE, 1).is_err_and(|error| error.is_segv())));
        hosted.on(cpu, || space.map(&fixed(PAGE, 1))).expect("room");
        hosted.audit_tlbs();
    }
    assert_eq!(hosted.take_violations(), []);
    let totals = hosted.vm().totals();
    assert!(totals.get(Event::Rollover) > 10 && totals.get(Event::Broadcast) >= 60);
    let none = [Event::RemoteFlush, Event::InterruptSent, Event::LazySkipped].map(|event| totals.get(event));
    assert_eq!(none, [0; 3]);
}

#[test]
fn the_end_of_a_space_interrupts_who_has_it_loaded() {
    let hosted = Hosted::<TinyBroadcast>::new(&MachineConfig::new(CPUS, 1024)).expect("a machine");
    let space = hosted.vm().create_space().expect("a space");
    space.map(&fixed(PAGE, 1)).expect("room");
    (0..CPUS).for_each(|cpu| hosted.store(cpu, &space, PAGE, &[1]).expect("mapped"));
    hosted.enter_lazy(1);
    hosted.on(0, || drop(space));
    assert!((0..CPUS).all(|cpu| hosted.machine().loaded(cpu).is_none()));
    assert_eq!(hosted.vm().totals().get(Event::InterruptSent), 2);
    assert_eq!(hosted.take_violations(), []);
}

/// A page of a space that all threads use, one at a time: what it holds, if it is mapped.
struct Slot {
    address: u64,
    value: Option<u8>,
}

/// Locks while interrupts are served.
fn lock<'m, T>(cpu: &CpuThread<'_, TinyBroadcast>, mutex: &'m Mutex<T>) -> std::sync::MutexGuard<'m, T> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(_)) => panic!("another thread has failed"),
            Err(TryLockError::WouldBlock) => cpu.poll(),
        }
        std::thread::yield_now();
    }
}

/// One look at a page, and one change.
fn step(cpu: &CpuThread<'_, TinyBroadcast>, space: &Shared<'_>, slot: &mut Slot, random: &mut fastrand::Rng) {
    let found = cpu.load(space, slot.address, 1).ok().map(|bytes| bytes[0]);
    assert_eq!(found, slot.value, "CPU {} at {:#x} of {space:?}", cpu.cpu(), slot.address);
    slot.value = match (random.u8(0..4), slot.value) {
        (0, Some(_)) => {
            space.unmap(slot.address, PAGE).expect("no error");
            None
        }
        (1, Some(_)) => {
            space.advise(slot.address, PAGE, Advice::DontNeed).expect("mapped");
            Some(0)
        }
        (_, value) => {
            if value.is_none() {
                space.map(&fixed(slot.address, 1)).expect("room");
            }
            let new = random.u8(..);
            cpu.store(space, slot.address, &[new]).expect("mapped");
            Some(new)
        }
    };
}

#[test]
fn threads_wander_among_many_spaces() {
    let host = Host::new(&MachineConfig::new(CPUS, 4096), Mmus::Simulated).expect("a machine");
    host.machine().check_frames(true);
    let spaces: Vec<_> = {
        let _cpu = host.enter(0);
        (0..7).map(|_| host.vm().create_space().expect("a space")).collect()
    };
    // In leaves of their own, and two in each of some.
    let slots = || [1, 4, 5, 8, 17, 18, 40].map(|page| Mutex::new(Slot { address: page * PAGE, value: None }));
    let slots: Vec<_> = spaces.iter().map(|_| slots()).collect();
    std::thread::scope(|scope| {
        for number in 0..CPUS {
            let (host, spaces, slots) = (&host, &spaces, &slots);
            scope.spawn(move || {
                let cpu = host.enter(number);
                let mut random = fastrand::Rng::with_seed(number as u64);
                for round in 0..20_000 {
                    let place = random.usize(0..spaces.len());
                    let mut slot = lock(&cpu, &slots[place][random.usize(0..slots[place].len())]);
                    step(&cpu, &spaces[place], &mut slot, &mut random);
                    drop(slot);
                    if round % 64 == 0 {
                        short_life(&cpu, round as u8);
                    }
                }
            });
        }
    });
    let _cpu = host.enter(0);
    drop(spaces);
    assert_eq!(host.machine().take_violations(), []);
    assert!(host.vm().totals().get(Event::Rollover) > 100);
    // SAFETY: no thread is inside the core.
    unsafe { host.vm().audit() }.expect("a clean audit");
}

/// A space that one CPU makes, uses and ends.
fn short_life(cpu: &CpuThread<'_, TinyBroadcast>, value: u8) {
    let space = cpu.vm().create_space().expect("a space");
    space.map(&fixed(PAGE, 3)).expect("room");
    cpu.store(&space, 2 * PAGE, &[value]).expect("mapped");
    assert_eq!(cpu.load(&space, 2 * PAGE, 1), Ok(vec![value]));
    assert_eq!(cpu.load(&space, PAGE, 1), Ok(vec![0]));
}

/// Says that the work is over, also when it failed.
struct SaysOver<'a>(&'a AtomicBool);

impl Drop for SaysOver<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Others use the pages while one CPU drops and replaces them: nobody may find a new page before all have lost the old.
#[test]
fn replaced_pages_are_broken_before_they_are_made() {
    let host = Host::new(&MachineConfig::new(CPUS, 4096), Mmus::Simulated).expect("a machine");
    host.machine().check_frames(true);
    let space = {
        let _cpu = host.enter(0);
        let space = host.vm().create_space().expect("a space");
        space.map(&fixed(PAGE, 40)).expect("room");
        space
    };
    let (over, accesses) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (host, space, over, accesses) = (&host, &space, &over, &accesses);
        for number in 1..CPUS {
            scope.spawn(move || {
                let cpu = host.enter(number);
                let mut random = fastrand::Rng::with_seed(number as u64);
                while !over.load(Relaxed) {
                    let address = random.u64(1..41) * PAGE;
                    let stored = random.bool().then(|| cpu.store(space, address, &[1]));
                    stored.unwrap_or_else(|| cpu.load(space, address, 1).map(drop)).expect("mapped");
                    accesses.fetch_add(1, Relaxed);
                }
            });
        }
        let cpu = host.enter(0);
        let _says = SaysOver(over);
        for round in 0.. {
            if accesses.load(Relaxed) > 60_000 {
                break;
            }
            match round % 3 {
                0 => space.advise(PAGE, 40 * PAGE, Advice::DontNeed).expect("mapped"),
                1 => _ = space.map(&fixed(PAGE, 40)).expect("room"),
                _ => drop(space.fork().expect("memory")),
            }
            // Time for the others.
            (0..8).for_each(|page| _ = cpu.load(space, (1 + page) * PAGE, 1).expect("mapped"));
            std::thread::yield_now();
        }
    });
    let _cpu = host.enter(0);
    drop(space);
    assert_eq!(host.machine().take_violations(), []);
    // SAFETY: no thread is inside the core.
    unsafe { host.vm().audit() }.expect("a clean audit");
}

/// Everything is what it should be.
struct Anything;

impl FrameKinds for Anything {
    fn frame_kind(&self, _pfn: Pfn) -> Option<Kind> {
        Some(Kind::Anonymous)
    }
}

/// The check itself: an entry changes its frame, once without a flush at all and once with one on the own CPU alone.
#[test]
fn unbroken_entries_are_noticed() {
    let config = MachineConfig::new(2, 8);
    let memory = HostMemory::<TinyBroadcast>::new(&config.ranges).expect("memory");
    let frame = |number: u64| Pfn(config.ranges[0].start.0 + number);
    let set = |table: u64, level: usize, word: u64| {
        let slot = memory.word(frame(table), index::<TinyBroadcast>(PAGE, level)).expect("memory");
        slot.store(word, Relaxed);
    };
    let bits = PageBits::READ | PageBits::WRITE | PageBits::ACCESSED;
    set(0, 2, TinyBroadcast::table(frame(1)));
    set(1, 1, TinyBroadcast::table(frame(2)));
    set(2, 0, TinyBroadcast::page(frame(3), bits));
    let bus = Bus { memory: &memory, kinds: &Anything, checks: Checks::NONE };
    let mut mmus = [Mmu::<TinyBroadcast>::new(0), Mmu::new(1)];
    let mut log = ViolationLog::default();
    for mmu in &mut mmus {
        mmu.load_root(RootLoad { root: frame(0), asid: Asid(1), keep_entries: true });
        mmu.translate(&bus, PAGE, Access::Read, &mut log).expect("mapped");
    }
    mmus[0].check_conflict(&mmus[1], PAGE, &mut log);
    assert_eq!(log.count(), 0);
    set(2, 0, TinyBroadcast::page(frame(4), bits));
    // A store through the clean entry walks again.
    mmus[0].translate(&bus, PAGE, Access::Write, &mut log).expect("mapped");
    let found = log.take();
    assert_eq!(found.iter().map(|found| found.invariant.id()).collect::<Vec<_>>(), ["I-BBM"]);
    mmus[0].check_conflict(&mmus[1], PAGE, &mut log);
    assert_eq!(log.take().len(), 1);
    set(1, 1, TinyBroadcast::table(frame(5)));
    mmus[0].invalidate_all();
    assert!(mmus[0].translate(&bus, PAGE, Access::Read, &mut log).is_err());
    set(5, 0, TinyBroadcast::page(frame(3), bits));
    mmus[0].translate(&bus, PAGE, Access::Read, &mut log).expect("mapped");
    mmus[0].check_conflict(&mmus[1], PAGE, &mut log);
    let found = log.take();
    assert!(found.len() == 1 && found[0].detail.starts_with("table"), "{found:?}");
}
