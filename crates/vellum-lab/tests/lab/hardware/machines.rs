//! The machines without a core: CPUs, interrupts, waits, failures.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use vellum::arch::{X86_64, X86_64La57};
use vellum::{CpuSet, Machine};
use vellum_lab::det::{Det, FailurePlan};
use vellum_lab::hardware::MachineConfig;
use vellum_lab::threads::{Mmus, Threads};

fn set(cpus: &[usize]) -> CpuSet {
    let mut set = CpuSet::EMPTY;
    cpus.iter().for_each(|&cpu| set.insert(cpu));
    set
}

fn det(cpus: usize) -> Arc<Det<X86_64>> {
    Arc::new(Det::new(&MachineConfig::new(cpus, 1)).expect("one page"))
}

fn panic_text(run: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("no panic");
    panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|text| text.to_string())).expect("text")
}

#[test]
fn det_delivers_interrupts_on_their_targets() {
    let machine = det(4);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (target, log): (Weak<Det<X86_64>>, _) = (Arc::downgrade(&machine), seen.clone());
    machine.on_interrupt(move || {
        log.lock().expect("log").push(target.upgrade().expect("the machine").current_cpu());
    });
    machine.set_cpu(2);
    machine.disable_preemption();
    machine.send_interrupt(&set(&[3, 0]));
    machine.enable_preemption();
    assert_eq!(*seen.lock().expect("log"), [0, 3]);
    assert_eq!(machine.current_cpu(), 2);
    assert_eq!(machine.counters(2).interrupts_sent, 2);
    assert_eq!(machine.counters(3).interrupts_received, 1);
    assert_eq!(machine.total_counters().interrupts_received, 2);
}

#[test]
fn det_says_when_it_is_stuck() {
    let machine = det(2);
    let word = AtomicU32::new(7);
    machine.set_cpu(1);
    let text = panic_text(|| {
        loop {
            machine.wait_change(&word, 7)
        }
    });
    assert!(text.contains("deadlock") && text.contains("CPU 1"), "{text}");
}

#[test]
fn det_belongs_to_one_thread_and_one_operation() {
    let machine = det(2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| panic_text(|| _ = machine.current_cpu()));
        assert!(other.join().expect("text").contains("host thread"));
    });
    machine.disable_preemption();
    assert!(panic_text(|| machine.set_cpu(1)).contains("inside an operation"));
    machine.enable_preemption();
    machine.set_cpu(1);
    assert!(panic_text(|| machine.set_cpu(2)).contains("no CPU 2"));
}

#[test]
fn det_fails_allocations_as_planned() {
    let machine = det(1);
    machine.set_failure_plan(FailurePlan::Nth(2));
    let allowed: Vec<bool> = (0..4).map(|_| machine.allow_allocation(0)).collect();
    assert_eq!(allowed, [true, true, false, true]);
    assert_eq!((machine.allocations(), machine.allocation_failures()), (4, 1));
    machine.set_failure_plan(FailurePlan::Never);
    assert!(machine.allow_allocation(3));
    assert_eq!(machine.allocations(), 1);
}

#[test]
fn det_time_is_the_drivers() {
    let machine = det(1);
    assert_eq!(machine.now(), 0);
    machine.set_clock(50);
    machine.advance_clock(5);
    assert_eq!(machine.now(), 55);
}

#[test]
fn cpus_take_the_nodes_in_turn() {
    let config = MachineConfig::new(3, 1).and_range(0, 1, 4);
    let machine: Det<X86_64La57> = Det::new(&config).expect("two pages");
    assert_eq!([0, 1, 2].map(|cpu| machine.node_of_cpu(cpu)), [0, 4, 0]);
}

type Handled = Arc<[AtomicU64]>;

/// A threads machine which counts the interrupts each CPU handles.
fn threads(cpus: usize) -> (Arc<Threads<X86_64>>, Handled) {
    let machine = Arc::new(Threads::new(&MachineConfig::new(cpus, 1), Mmus::None).expect("one page"));
    let handled: Handled = (0..cpus).map(|_| AtomicU64::new(0)).collect();
    let (target, counts) = (Arc::downgrade(&machine), handled.clone());
    machine.on_interrupt(move || {
        counts[target.upgrade().expect("the machine").current_cpu()].fetch_add(1, SeqCst);
    });
    (machine, handled)
}

#[test]
fn threads_have_seats() {
    let (machine, _) = threads(2);
    assert!(panic_text(|| _ = machine.current_cpu()).contains("no CPU of this machine"));
    let seat = machine.enter_cpu(1);
    assert_eq!((seat.cpu(), machine.current_cpu()), (1, 1));
    let (other, _) = threads(2);
    assert!(panic_text(|| _ = other.current_cpu()).contains("no CPU of this machine"));
    assert!(panic_text(|| drop(other.enter_cpu(0))).contains("already"));
    drop(seat);
    drop(other.enter_cpu(0));
    let waited = AtomicBool::new(false);
    let seat = machine.enter_cpu(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _seat = machine.enter_cpu(0);
            waited.store(true, SeqCst);
        });
        std::thread::sleep(Duration::from_millis(5));
        assert!(!waited.load(SeqCst), "two threads are CPU 0");
        drop(seat);
    });
    assert!(waited.load(SeqCst));
}

#[test]
fn threads_see_interrupts_when_they_poll() {
    let (machine, handled) = threads(2);
    let (ready, sent) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _seat = machine.enter_cpu(1);
            ready.store(true, SeqCst);
            while !sent.load(SeqCst) {
                std::thread::yield_now();
            }
            assert_eq!(handled[1].load(SeqCst), 0);
            machine.poll();
            assert_eq!(handled[1].load(SeqCst), 1);
        });
        let _seat = machine.enter_cpu(0);
        while !ready.load(SeqCst) {
            std::thread::yield_now();
        }
        machine.send_interrupt(&set(&[1]));
        sent.store(true, SeqCst);
    });
    assert_eq!(machine.counters(0).interrupts_sent, 1);
    assert_eq!(machine.counters(1).interrupts_received, 1);
}

#[test]
fn senders_answer_for_vacant_cpus() {
    let (machine, handled) = threads(3);
    let _seat = machine.enter_cpu(0);
    machine.send_interrupt(&set(&[1, 2]));
    assert_eq!([0, 1, 2].map(|cpu| handled[cpu].load(SeqCst)), [0, 1, 1]);
    assert_eq!(machine.current_cpu(), 0);
}

#[test]
fn no_interrupt_is_lost_by_leaving() {
    const ROUNDS: u64 = 20_000;
    let (machine, handled) = threads(2);
    let round = AtomicU64::new(0);
    let wait_for = |counter: &AtomicU64, value: u64| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while counter.load(SeqCst) < value {
            assert!(Instant::now() < deadline, "an interrupt was lost");
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for now in 1..=ROUNDS {
                let seat = machine.enter_cpu(1);
                round.store(now, SeqCst);
                // Leave sooner or later, so that the sender hits every point of it.
                (0..now % 64).for_each(|_| std::hint::spin_loop());
                drop(seat);
                // The next round would serve what this one has lost.
                wait_for(&handled[1], now);
            }
        });
        let _seat = machine.enter_cpu(0);
        for now in 1..=ROUNDS {
            wait_for(&round, now);
            machine.send_interrupt(&set(&[1]));
            wait_for(&handled[1], now);
        }
    });
}
