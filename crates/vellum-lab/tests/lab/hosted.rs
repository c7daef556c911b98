//! The core on the deterministic machine and on threads, with user accesses through simulated MMUs.

use crate::toys::Toy;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use vellum::Event;
use vellum::arch::{Arch, Prot, X86_64};
use vellum::ops::{FaultKind, MapRequest, Place};
use vellum_lab::det::FailurePlan;
use vellum_lab::hardware::MachineConfig;
use vellum_lab::hosted::Hosted;
use vellum_lab::recorder::{self, Summary};
use vellum_lab::threads::{CpuThread, Mmus, ThreadHost};

const PAGE: u64 = 4096;

/// Runs a generic test on each architecture.
macro_rules! on_each_arch {
    ($($name:ident)*) => {
        $(mod $name {
            use super::*;
            #[test]
            fn x86_64() {
                super::$name::<X86_64>();
            }
            #[test]
            fn tiny() {
                super::$name::<Toy>();
            }
        })*
    };
}

on_each_arch! {
    bytes_go_through_faults
    denied_and_missing_pages_are_segv
    unmap_interrupts_who_may_hold_translations
    lazy_cpus_flush_when_they_come_back
    more_spaces_than_identifiers
    exhausted_memory_is_an_error
    recorded_faults
    threads_share_a_space
}

fn hosted<A: Arch>(cpus: usize) -> Hosted<A> {
    Hosted::new(&MachineConfig::new(cpus, 1024)).expect("a machine")
}

fn bytes_go_through_faults<A: Arch>() {
    let hosted = hosted::<A>(2);
    let space = hosted.vm().create_space().expect("a space");
    let address = space.map(&MapRequest::anonymous(3 * PAGE, Prot::READ_WRITE)).expect("room");
    assert_eq!(hosted.load(0, &space, address, 4), Ok(vec![0; 4]));
    // Across a page end, over the zero page and nothing.
    let across = address + PAGE - 3;
    hosted.store(1, &space, across, b"hello").expect("mapped");
    assert_eq!(hosted.load(0, &space, across, 5).expect("mapped"), b"hello");
    hosted.store(0, &space, across + 1, b"u").expect("mapped");
    assert_eq!(hosted.load(1, &space, across, 5).expect("mapped"), b"hullo");
    hosted.audit_tlbs();
    assert_eq!(hosted.take_violations(), []);
    let kinds: Vec<FaultKind> = hosted.latency().iter().map(|(kind, _)| kind).collect();
    assert!(kinds.contains(&FaultKind::Zero) && kinds.contains(&FaultKind::Anonymous), "{kinds:?}");
    assert!(hosted.machine().total_counters().mmu.hits > 0);
}

fn denied_and_missing_pages_are_segv<A: Arch>() {
    let hosted = hosted::<A>(2);
    let space = hosted.vm().create_space().expect("a space");
    let address = space.map(&MapRequest::anonymous(2 * PAGE, Prot::READ_WRITE)).expect("room");
    hosted.store(0, &space, address, &[1; 2 * PAGE as usize]).expect("mapped");
    assert!(hosted.execute(0, &space, address, 4).is_err_and(|error| error.is_segv()));
    hosted.on(1, || space.protect(address, PAGE, Prot::READ)).expect("mapped");
    assert!(hosted.store(0, &space, address, &[2]).is_err_and(|error| error.is_segv()));
    assert_eq!(hosted.load(0, &space, address, 1), Ok(vec![1]));
    hosted.on(1, || space.protect(address, PAGE, Prot::NONE)).expect("mapped");
    assert!(hosted.load(0, &space, address, 1).is_err_and(|error| error.is_segv()));
    hosted.on(1, || space.protect(address, PAGE, Prot::READ_WRITE)).expect("mapped");
    hosted.store(0, &space, address, &[3]).expect("allowed again");
    assert!(hosted.load(0, &space, A::USER_END, 1).is_err_and(|error| error.is_segv()));
    assert!(hosted.load(0, &space, u64::MAX, 2).is_err_and(|error| error.is_segv()));
    hosted.audit_tlbs();
    assert_eq!(hosted.take_violations(), []);
}

fn unmap_interrupts_who_may_hold_translations<A: Arch>() {
    let hosted = hosted::<A>(3);
    let space = hosted.vm().create_space().expect("a space");
    let address = space.map(&MapRequest::anonymous(2 * PAGE, Prot::READ_WRITE)).expect("room");
    for cpu in 0..2 {
        hosted.store(cpu, &space, address, &[7]).expect("mapped");
    }
    let before = hosted.machine().total_counters().interrupts_sent;
    hosted.on(0, || space.unmap(address, PAGE)).expect("mapped");
    let counters = [1, 2].map(|cpu| hosted.machine().counters(cpu).interrupts_received);
    assert!(counters[0] > 0, "CPU 1 ran in the space");
    assert_eq!(counters[1], 0, "CPU 2 did not");
    assert!(hosted.machine().total_counters().interrupts_sent > before);
    for cpu in 0..3 {
        assert!(hosted.load(cpu, &space, address, 1).is_err_and(|error| error.is_segv()));
    }
    hosted.audit_tlbs();
    assert_eq!(hosted.take_violations(), []);
}

fn lazy_cpus_flush_when_they_come_back<A: Arch>() {
    let hosted = hosted::<A>(2);
    let space = hosted.vm().create_space().expect("a space");
    let address = space.map(&MapRequest::anonymous(2 * PAGE, Prot::READ_WRITE)).expect("room");
    for cpu in 0..2 {
        hosted.store(cpu, &space, address, &[7; 2 * PAGE as usize]).expect("mapped");
    }
    hosted.enter_lazy(1);
    hosted.on(0, || space.protect(address, PAGE, Prot::READ)).expect("mapped");
    assert_eq!(hosted.machine().counters(1).interrupts_received, 0);
    assert!(hosted.store(1, &space, address, &[8]).is_err_and(|error| error.is_segv()));
    hosted.store(1, &space, address + PAGE, &[8]).expect("mapped");
    hosted.audit_tlbs();
    assert_eq!(hosted.take_violations(), []);
}

fn more_spaces_than_identifiers<A: Arch>() {
    let hosted = hosted::<A>(2);
    let spaces: Vec<_> = (0..A::ASIDS + 2).map(|_| hosted.vm().create_space().expect("a space")).collect();
    let at = |space: &vellum::Space<'_, _>| {
        space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE).at(Place::Fixed(16 * PAGE))).expect("room")
    };
    let addresses: Vec<u64> = spaces.iter().map(at).collect();
    for round in 0..6u8 {
        for (number, space) in spaces.iter().enumerate() {
            let value = [number as u8, round];
            let cpu = (number + round as usize) % 2;
            hosted.store(cpu, space, addresses[number], &value).expect("mapped");
            assert_eq!(hosted.load(1 - cpu, space, addresses[number], 2).expect("mapped"), value);
            hosted.speculate(cpu, addresses[number]);
        }
    }
    hosted.audit_tlbs();
    drop(spaces);
    hosted.audit_tlbs();
    assert_eq!(hosted.take_violations(), []);
}

fn exhausted_memory_is_an_error<A: Arch>() {
    let hosted = hosted::<A>(1);
    let space = hosted.vm().create_space().expect("a space");
    let address = space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE)).expect("room");
    hosted.machine().set_failure_plan(FailurePlan::From(0));
    assert!(hosted.store(0, &space, address, &[1]).is_err_and(|error| error.is_out_of_memory()));
    assert!(hosted.machine().allocation_failures() > 0);
    hosted.machine().set_failure_plan(FailurePlan::Never);
    hosted.store(0, &space, address, &[1]).expect("memory again");
    assert!(hosted.machine().allocations() > 0);
    assert_eq!(hosted.take_violations(), []);
}

fn recorded_faults<A: Arch>() {
    let hosted = Hosted::<A>::new(&MachineConfig::new(2, 1024)).expect("a machine");
    let space = hosted.vm().create_space().expect("a space");
    let address = space.map(&MapRequest::anonymous(4 * PAGE, Prot::READ_WRITE)).expect("room");
    for (cpu, page) in [(0, 0), (1, 1)] {
        hosted.store(cpu, &space, address + page * PAGE, &[1]).expect("mapped");
    }
    recorder::start();
    for (cpu, page) in [(0, 2), (1, 3)] {
        hosted.store(cpu, &space, address + page * PAGE, &[1]).expect("mapped");
    }
    let summary = Summary::of(&recorder::stop());
    assert_eq!(summary.cpus.keys().copied().collect::<Vec<_>>(), [0, 1]);
    for cpu in summary.cpus.values() {
        assert!(cpu.modifies > 0 && !cpu.lines_written.is_empty());
    }
    // Both pages hang in one leaf table.
    assert!(!summary.lines_written_by_several().is_empty());
}

fn threads_share_a_space<A: Arch>() {
    const CPUS: usize = 3;
    let host = ThreadHost::<A>::new(&MachineConfig::new(CPUS, 4096), Mmus::Simulated).expect("a machine");
    host.machine().check_frames(true);
    let main = host.enter(0);
    let space = host.vm().create_space().expect("a space");
    let address = space.map(&MapRequest::anonymous(8 * PAGE, Prot::READ_WRITE)).expect("room");
    let (running, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for cpu in 1..CPUS {
            let (host, space, running, stop) = (&host, &space, &running, &stop);
            scope.spawn(move || {
                let thread = host.enter(cpu);
                let own = address + cpu as u64 * PAGE;
                thread.store(space, own, &[0]).expect("mapped");
                running.fetch_add(1, Relaxed);
                let mut value = 0u64;
                while !stop.load(Relaxed) {
                    value += 1;
                    thread.store(space, own, &value.to_ne_bytes()).expect("mapped");
                    // Pages that the main thread maps and unmaps.
                    _ = thread.store(space, address + 4 * PAGE + value % 4 * PAGE, &[1]);
                    assert_eq!(thread.load(space, own, 8).expect("mapped"), value.to_ne_bytes());
                }
            });
        }
        while running.load(Relaxed) < CPUS - 1 {
            main.poll();
            std::thread::yield_now();
        }
        for _ in 0..100 {
            space.unmap(address + 4 * PAGE, 4 * PAGE).expect("mapped");
            let again = MapRequest::anonymous(4 * PAGE, Prot::READ_WRITE).at(Place::Fixed(address + 4 * PAGE));
            space.map(&again).expect("room");
            main.store(&space, address + 5 * PAGE, &[2]).expect("mapped");
        }
        stop.store(true, Relaxed);
        main.idle();
    });
    assert_eq!(host.machine().take_violations(), []);
    assert!(host.machine().total_counters().interrupts_sent > 0);
    drop(space);
}

/// Where threads map, touch and unmap 3 MiB, more than a leaf, so that each claims some slots of a table above.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Region {
    /// Where the core chooses, beside a page that stays.
    Beside,
    /// Where the core chooses, and nothing else is.
    Alone,
    /// In one GiB.
    Chosen,
}

/// How often threads wait for each other's claims, each of which does so `rounds` times.
fn claim_waits(region: Region, rounds: u64) -> u64 {
    const CPUS: usize = 4;
    const LENGTH: u64 = 3 << 20;
    let host = ThreadHost::<X86_64>::new(&MachineConfig::new(CPUS, 4096), Mmus::Simulated).expect("a machine");
    let main = host.enter(0);
    let space = host.vm().create_space().expect("a space");
    let (ready, left) = (AtomicUsize::new(0), AtomicUsize::new(CPUS));
    let map = |length, place| space.map(&MapRequest::anonymous(length, Prot::READ_WRITE).at(place)).expect("room");
    let waits = || host.vm().totals().get(Event::ClaimWait);
    let work = |thread: &CpuThread<'_, X86_64>| {
        // What others wait for are answers to flushes, too.
        let wait = |is_over: &dyn Fn() -> bool| {
            while !is_over() {
                thread.poll();
                std::thread::yield_now();
            }
        };
        if region == Region::Beside {
            thread.store(&space, map(PAGE, Place::Anywhere), &[1]).expect("mapped");
        }
        ready.fetch_add(1, Relaxed);
        wait(&|| ready.load(Relaxed) == CPUS);
        let before = waits();
        let place = match region {
            Region::Chosen => Place::Fixed((1 << 40) + thread.cpu() as u64 * (32 << 20)),
            _ => Place::Anywhere,
        };
        for round in 0..rounds {
            let address = map(LENGTH, place);
            thread.store(&space, address + round % 768 * PAGE, &[1]).expect("mapped");
            space.unmap(address, LENGTH).expect("mapped");
        }
        left.fetch_sub(1, Relaxed);
        wait(&|| left.load(Relaxed) == 0);
        before
    };
    let before = std::thread::scope(|scope| {
        for cpu in 1..CPUS {
            let (host, work) = (&host, &work);
            scope.spawn(move || work(&host.enter(cpu)));
        }
        let before = work(&main);
        main.idle();
        before
    });
    assert_eq!(host.machine().take_violations(), []);
    let waits = waits() - before;
    println!("{region:?}: {waits} waits in {} operations", 2 * CPUS as u64 * rounds);
    waits
}

/// Figures for decision 22: a table has one claim, also for operations on slots of it that are apart. Where the core
/// chooses the addresses, CPUs have parts of the address space of their own, and tables there, as long as something is
/// mapped.
#[test]
#[ignore = "takes long"]
fn cpus_that_map_in_one_table_wait_for_claims() {
    let [beside, ..] = [Region::Beside, Region::Alone, Region::Chosen].map(|region| claim_waits(region, 400));
    assert_eq!(beside, 0);
}
