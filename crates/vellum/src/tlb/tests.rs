//! Global identifiers on a machine whose CPUs cache what they walked, and compare it with the tables after each step.

mod whole;

use super::mailbox::{Mailbox, Request};
use super::{RANGE_MAX, SLOTS_MAX};
use crate::arch::{Prot, TinyBroadcast};
use crate::cpu::Cx;
use crate::machine::{Asid, Machine, MemoryRange, RootLoad, Touch};
use crate::ops::{Access, Advice, MapRequest, Place};
use crate::phys::Pfn;
use crate::testing::{TestMachine, become_cpu};
use crate::{BootError, CpuSet, Event, Guard, Space, Vm};
use core::cell::{Cell, RefCell};
use core::sync::atomic::AtomicU32;
use std::boxed::Box;
use std::string::String;
use std::sync::{Mutex, MutexGuard};
use std::vec;
use std::vec::Vec;

const PAGE: u64 = 4096;
const CPUS: usize = 3;

/// What to do once.
type Hook = Box<dyn FnOnce()>;

std::thread_local! {
    /// What to do before the next load of the integer at an address.
    static BEFORE_LOAD: RefCell<Option<(usize, Hook)>> = const { RefCell::new(None) };
    /// What to do before the next broadcast.
    static BEFORE_BROADCAST: RefCell<Option<Hook>> = const { RefCell::new(None) };
    /// The protection that is off. Of the thread, since a machine that lacks it by its type has the core compiled anew.
    static OFF: Cell<Option<Guard>> = const { Cell::new(None) };
}

/// A cached translation.
#[derive(Clone, Copy, Debug)]
struct Cached {
    cpu: usize,
    asid: Asid,
    root: Pfn,
    address: u64,
    pfn: Pfn,
}

#[derive(Default)]
struct Caches {
    loaded: [Option<RootLoad>; CPUS],
    entries: Vec<Cached>,
}

/// A machine of three CPUs with TLBs, which lacks the protection [`OFF`].
struct Rig {
    base: TestMachine<TinyBroadcast>,
    caches: Mutex<Caches>,
}

impl Rig {
    fn caches(&self) -> MutexGuard<'_, Caches> {
        self.caches.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn forget(&self, is_gone: impl Fn(&Cached) -> bool) {
        self.caches().entries.retain(|entry| !is_gone(entry));
    }
}

// SAFETY: everything of substance is the test machine's.
unsafe impl Machine for Rig {
    type Arch = TinyBroadcast;

    fn cpu_count(&self) -> usize {
        self.base.cpu_count()
    }
    fn memory(&self) -> &[MemoryRange] {
        self.base.memory()
    }
    fn frame(&self, pfn: Pfn) -> *mut u8 {
        self.base.frame(pfn)
    }
    fn current_cpu(&self) -> usize {
        self.base.current_cpu()
    }
    fn disable_preemption(&self) {
        self.base.disable_preemption();
    }
    fn enable_preemption(&self) {
        self.base.enable_preemption();
    }
    fn now(&self) -> u64 {
        self.base.now()
    }
    fn load_root(&self, load: RootLoad) {
        self.caches().loaded[self.current_cpu()] = Some(load);
        if !load.keep_entries {
            self.invalidate_asid(load.asid);
        }
    }
    fn unload_root(&self) {
        self.caches().loaded[self.current_cpu()] = None;
    }
    fn invalidate_page(&self, asid: Asid, address: u64) {
        let cpu = self.current_cpu();
        self.forget(|entry| (entry.cpu, entry.asid, entry.address) == (cpu, asid, address));
    }
    fn invalidate_asid(&self, asid: Asid) {
        let cpu = self.current_cpu();
        self.forget(|entry| (entry.cpu, entry.asid) == (cpu, asid));
    }
    fn broadcast_invalidate(&self, asid: Asid, start: u64, pages: u64) {
        if let Some(hook) = BEFORE_BROADCAST.take() {
            hook();
        }
        let is_inside = |address: u64| address >= start && (address - start) / PAGE < pages;
        self.forget(|entry| entry.asid == asid && is_inside(entry.address));
    }
    fn send_interrupt(&self, _cpus: &CpuSet) {
        panic!("nothing here ends while it is loaded");
    }
    fn wait_change(&self, _word: &AtomicU32, _seen: u32) {
        std::thread::yield_now();
    }
    fn sleep(&self, word: &AtomicU32, seen: u32) {
        self.base.sleep(word, seen);
    }
    fn observe(address: usize, touch: Touch) {
        let hook = BEFORE_LOAD.with_borrow_mut(|hook| hook.take_if(|hook| (hook.0, Touch::Load) == (address, touch)));
        if let Some((_, hook)) = hook {
            hook();
        }
    }
    fn guard(guard: Guard) -> bool {
        OFF.get() != Some(guard)
    }
}

fn boot_with(cpus: usize) -> Result<Vm<Rig>, BootError> {
    become_cpu(0);
    OFF.set(None);
    let base = TestMachine::with(&[(0x100, 4096, 0)], &vec![0; cpus]);
    Vm::new(Rig { base, caches: Mutex::default() })
}

fn boot() -> Vm<Rig> {
    boot_with(CPUS).expect("a machine")
}

/// Spaces with `pages` pages from the second on, all there.
fn spaces(vm: &Vm<Rig>, count: usize, pages: u64) -> Vec<Space<'_, Rig>> {
    let space = |_| {
        let space = vm.create_space().expect("a space");
        (1..=pages).for_each(|page| restore(&space, page * PAGE));
        space
    };
    (0..count).map(space).collect()
}

/// Maps the page at `address` and makes it.
fn restore(space: &Space<'_, Rig>, address: u64) {
    space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE).at(Place::Fixed(address))).expect("room");
    space.fault(address, Access::Write).expect("a page");
}

/// CPU `cpu` runs `space` and uses its page at `address`, if there is one.
fn visit(cpu: usize, space: &Space<'_, Rig>, address: u64) {
    become_cpu(cpu);
    space.vm().switch_to(Some(space));
    let machine = space.vm().machine();
    let mut caches = machine.caches();
    let load = caches.loaded[cpu].expect("just loaded");
    assert_eq!(load.root, space.root());
    if !caches.entries.iter().any(|old| (old.cpu, old.asid, old.address) == (cpu, load.asid, address))
        && let Some(found) = space.translate(address)
    {
        caches.entries.push(Cached { cpu, asid: load.asid, root: load.root, address, pfn: found.pfn });
    }
}

/// Whether what each CPU can use now is of the space it runs, and what the tables say.
fn check(vm: &Vm<Rig>, spaces: &[Space<'_, Rig>]) -> Result<(), String> {
    let caches = vm.machine().caches();
    for entry in &caches.entries {
        let Some(load) = caches.loaded[entry.cpu].filter(|load| load.asid == entry.asid) else { continue };
        let space = spaces.iter().find(|space| space.root() == load.root).expect("a space that is loaded");
        let now = space.translate(entry.address).map(|found| found.pfn);
        if entry.root != load.root || now != Some(entry.pfn) {
            return Err(std::format!("{entry:?} in {space:?}, whose tables say {now:?}"));
        }
    }
    Ok(())
}

/// All CPUs leave, so that the spaces can end.
fn leave(vm: &Vm<Rig>) {
    for cpu in 0..CPUS {
        become_cpu(cpu);
        vm.switch_to(None);
    }
    become_cpu(0);
}

/// Many spaces, few identifiers: random visits, removals and restorations on three CPUs.
fn wander(off: Option<Guard>, steps: u64) -> Result<u64, String> {
    let vm = boot();
    OFF.set(off);
    let spaces = spaces(&vm, 7, 2);
    let mut state = 1u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % bound
    };
    let mut result = Ok(());
    for _ in 0..steps {
        let (cpu, space, address) = (below(3) as usize, &spaces[below(7) as usize], PAGE * (1 + below(2)));
        become_cpu(cpu);
        match below(8) {
            0 => vm.enter_lazy(),
            1 => vm.switch_to(None),
            2..5 => visit(cpu, space, address),
            _ if space.translate(address).is_some() => space.unmap(address, PAGE).expect("no error"),
            _ => restore(space, address),
        }
        result = check(&vm, &spaces);
        if result.is_err() {
            break;
        }
    }
    leave(&vm);
    OFF.set(None);
    result.map(|()| vm.totals().get(Event::Rollover))
}

#[test]
fn more_spaces_than_identifiers() {
    let rollovers = wander(None, 20_000).expect("no stale translation");
    assert!(rollovers > 500, "only {rollovers} rollovers");
}

/// What a rollover's flush is for.
#[test]
fn without_a_flush_identifiers_show_pages_of_others() {
    let error = wander(Some(Guard::RolloverFlush), 20_000).expect_err("a CPU uses what another space left");
    std::println!("{error}");
}

/// What the reservation is for.
#[test]
fn without_reservation_a_running_space_misses_flushes() {
    let error = wander(Some(Guard::RolloverReserve), 20_000).expect_err("a CPU keeps what was flushed");
    std::println!("{error}");
}

/// J6: the identifier that the flusher has read is given to another space before it broadcasts.
///
/// ```text
/// CPU 0: unmap in A                     CPU 1
/// clears the entry
/// reads A's identifier
///                                       runs others: rollover
///                                       runs A under a new identifier: walks
/// broadcasts the old identifier
/// ```
#[test]
fn a_rollover_between_reading_and_broadcasting() {
    let vm = boot();
    let spaces = &*Box::leak(Box::new(spaces(Box::leak(Box::new(vm)), 6, 1)));
    visit(1, &spaces[0], PAGE);
    let vm = spaces[0].vm();
    let before = vm.machine().caches().loaded[1];
    BEFORE_BROADCAST.set(Some(Box::new(|| {
        spaces.iter().skip(1).chain(&spaces[..1]).for_each(|space| visit(1, space, PAGE));
        become_cpu(0);
    })));
    become_cpu(0);
    spaces[0].unmap(PAGE, PAGE).expect("no error");
    assert!(BEFORE_BROADCAST.take().is_none() && vm.totals().get(Event::Rollover) > 0);
    assert_ne!(before, vm.machine().caches().loaded[1]);
    check(vm, spaces).expect("CPU 1 walked after the entry was cleared");
    leave(vm);
}

/// J1: a space is loaded for the first time while it is flushed, which finds no identifier.
#[test]
fn a_first_switch_during_a_flush() {
    let vm = boot();
    let spaces = &*Box::leak(Box::new(spaces(Box::leak(Box::new(vm)), 1, 2)));
    let space = &spaces[0];
    let identifier = &raw const space.inner().tlb().identifier as usize;
    BEFORE_LOAD.set(Some((
        identifier,
        Box::new(|| {
            visit(1, space, PAGE);
            become_cpu(0);
        }),
    )));
    become_cpu(0);
    space.unmap(PAGE, PAGE).expect("no error");
    assert!(BEFORE_LOAD.take().is_none(), "the flush asks for the identifier");
    check(space.vm(), spaces).expect("CPU 1 walked after the entry was cleared");
    leave(space.vm());
}

/// A CPU that is lazy, or runs on, keeps its identifier over any number of rollovers.
#[test]
fn identifiers_in_use_survive_rollovers() {
    let vm = boot();
    let spaces = spaces(&vm, 7, 1);
    visit(1, &spaces[0], PAGE);
    visit(2, &spaces[1], PAGE);
    become_cpu(2);
    vm.enter_lazy();
    let before = vm.machine().caches().loaded;
    // Under a new generation each time, which the next rollover is to know.
    for time in 1..4 {
        (0..40).for_each(|round| visit(0, &spaces[2 + round % 5], PAGE));
        assert!(vm.totals().get(Event::Rollover) > 3 * time);
        visit(0, &spaces[0], PAGE);
        let other = vm.machine().caches().loaded[0];
        assert_eq!(other.map(|load| load.asid), before[1].map(|load| load.asid), "one identifier on all CPUs");
    }
    visit(2, &spaces[1], PAGE);
    let after = vm.machine().caches().loaded;
    assert_eq!((after[1], after[2]), (before[1], before[2]));
    check(&vm, &spaces).expect("no stale translation");
    leave(&vm);
}

/// What is asked of a CPU that has not answered the first of two requests does the work of both, in whichever order
/// they came (J7).
#[test]
fn merged_requests_cover_both() {
    let vm = boot();
    let cx = Cx::enter(&vm);
    let merged = |first: Request, second: Request| {
        let mailbox = Mailbox::new();
        mailbox.post(&cx, first).expect("room");
        mailbox.post(&cx, second).expect("room");
        mailbox.take(&cx).expect("nobody posts").0.expect("a request")
    };
    let one = |space: u64, start: u64, generation: u64| Request {
        space,
        start,
        pages: 1,
        first: generation,
        last: generation,
        detach: 0,
    };
    for (first, second) in [(one(7, PAGE, 2), one(7, 9 * PAGE, 3)), (one(7, 9 * PAGE, 3), one(7, PAGE, 2))] {
        let both = merged(first, second);
        assert_eq!((both.space, both.first, both.last), (7, 2, 3));
        let is_within = |page: u64| page >= both.start && (page - both.start) / PAGE < both.pages;
        assert!(is_within(PAGE) && is_within(9 * PAGE), "{both:?}");
    }
    // Which of the spaces is loaded only the owner knows.
    assert_eq!(merged(one(7, PAGE, 2), one(8, PAGE, 2)).space, 0);
    // A dying space is left, whatever else is asked for; two of them do not fit.
    let leave = |space: u64| Request { detach: space, ..one(space, PAGE, 2) };
    for (first, second) in [(leave(9), one(7, PAGE, 2)), (one(7, PAGE, 2), leave(9))] {
        assert_eq!(merged(first, second).detach, 9);
    }
    let mailbox = Mailbox::new();
    mailbox.post(&cx, leave(9)).expect("room");
    assert_eq!(mailbox.post(&cx, leave(8)), None);
    // What has been taken is not asked for again.
    mailbox.take(&cx).expect("nobody posts").0.expect("a request");
    assert_eq!(mailbox.take(&cx).expect("nobody posts").0, None);
    mailbox.post(&cx, one(7, 9 * PAGE, 3)).expect("room");
    assert_eq!(mailbox.take(&cx).expect("nobody posts").0, Some(one(7, 9 * PAGE, 3)));
}

#[test]
fn identifiers_must_outnumber_cpus() {
    assert_eq!(boot_with(4).err(), Some(BootError::TooFewIdentifiers { identifiers: 4, cpus: 4 }));
}

/// A fault puts no page where one was removed until that has been flushed, where entries must be broken first.
#[test]
fn a_removed_page_is_flushed_before_a_fault_replaces_it() {
    let vm = boot();
    // More than one leaf: the long way.
    let spaces = &*Box::leak(Box::new(spaces(Box::leak(Box::new(vm)), 1, 7)));
    let space = &spaces[0];
    visit(1, space, PAGE);
    let (finish, finished) = std::sync::mpsc::channel();
    BEFORE_BROADCAST.set(Some(Box::new(move || {
        let fault = move || {
            become_cpu(1);
            space.fault(PAGE, Access::Write).expect("mapped");
            finish.send(()).expect("a receiver");
        };
        std::thread::spawn(fault);
        std::thread::sleep(std::time::Duration::from_millis(40));
        assert!(space.translate(PAGE).is_none(), "the old page is not flushed yet");
    })));
    become_cpu(0);
    space.advise(PAGE, 7 * PAGE, Advice::DontNeed).expect("mapped");
    finished.recv().expect("the fault ends");
    check(space.vm(), spaces).expect("no stale translation");
    leave(space.vm());
}
