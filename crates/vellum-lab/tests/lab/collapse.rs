//! Collapsing much memory that many CPUs use: one flush for each huge page, which interrupts each of them once, and no
//! other interrupt. Nobody waits for walkers without a lock.

use vellum::arch::{Aarch64, Arch, Prot, X86_64, entries};
use vellum::ops::{Access, Advice, MapRequest, Place};
use vellum::{Event, Space};
use vellum_lab::hardware::MachineConfig;
use vellum_lab::host::Host;
use vellum_lab::hosted::Hosted;

const CPUS: usize = 64;
/// 128 MiB, where a huge page has 2 MiB. Each costs what each costs, however many there are.
const PLACES: u64 = 64;

/// Every so many pages of a place are stored to.
const STEP: usize = 61;

/// The pages that are looked at, and by which CPU.
fn looks<A: Arch>(start: u64) -> impl Iterator<Item = (usize, u64)> {
    let pages = PLACES * entries::<A>(0) as u64;
    (0..pages).step_by(STEP).map(move |page| ((page % CPUS as u64) as usize, start + (page << A::PAGE_SHIFT)))
}

/// The bytes that stand at an address.
fn mark<A: Arch>(address: u64) -> [u8; 2] {
    ((address >> A::PAGE_SHIFT) as u16 | 1).to_le_bytes()
}

/// Flushes, and messages to other CPUs, for each place: of flushes, and what the machine has sent.
fn collapse<A: Arch>() -> (u64, u64, u64) {
    let (page, pages) = (1 << A::PAGE_SHIFT, PLACES * entries::<A>(0) as u64);
    let length = pages * page;
    let hosted =
        Hosted::<A>::new(&MachineConfig::new(CPUS, pages + 16 * entries::<A>(0) as u64 + 8192)).expect("a machine");
    let vm = hosted.vm();
    let space: Space<'_, Host<A>> = hosted.on(0, || vm.create_space()).expect("a space");
    let start = 64 << A::shift(1);
    let request = MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(start));
    hosted.on(0, || space.map(&request)).expect("room");
    hosted.on(0, || space.populate(start, length, Access::Write)).expect("memory");
    for (cpu, at) in looks::<A>(start) {
        hosted.store(cpu, &space, at, &mark::<A>(at)).expect("mapped");
    }
    // They all run the space when it is collapsed, and have cached what they saw.
    let counts = || {
        let of = |event| vm.totals().get(event);
        let flushes = of(Event::FlushBatch);
        let sent = of(Event::InterruptSent) + of(Event::Broadcast);
        (flushes, sent, of(Event::RemoteFlushReceived))
    };
    let (tables, before) = (space.table_pages(), counts());
    hosted.on(0, || space.advise(start, length, Advice::Collapse)).expect("collapsed");
    let after = counts();
    assert_eq!(space.table_pages(), tables - PLACES, "{}", A::NAME);
    hosted.audit_tlbs();
    for (cpu, at) in looks::<A>(start) {
        assert_eq!(hosted.load(cpu, &space, at, 2), Ok(mark::<A>(at).to_vec()), "{at:#x} on {}", A::NAME);
    }
    // SAFETY: nobody is inside the core.
    unsafe { vm.audit() }.expect("a clean audit");
    assert_eq!(hosted.take_violations(), []);
    (after.0 - before.0, after.1 - before.1, after.2 - before.2)
}

#[test]
fn a_huge_page_is_one_interrupt_to_each_cpu() {
    let (flushes, sent, received) = collapse::<X86_64>();
    let others = CPUS as u64 - 1;
    assert_eq!((flushes, sent, received), (PLACES, PLACES * others, PLACES * others));
}

#[test]
fn a_huge_page_is_one_broadcast() {
    let (flushes, sent, received) = collapse::<Aarch64>();
    assert_eq!((flushes, sent, received), (PLACES, PLACES, 0));
}
