//! Interrupts at random moments: the machine that delivers them shows a lock that forgets them. The core under them is
//! in `pressure_stress`.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Duration;
use vellum::arch::X86_64;
use vellum::sync::AtomicU32 as SharedU32;
use vellum_lab::hardware::MachineConfig;
use vellum_lab::host::Host;
use vellum_lab::threads::interrupts::{RunQueue, with_interrupts_off};
use vellum_lab::threads::{CpuThread, Mmus, ThreadHost};

/// A lock as a core may have one: nothing is said of interrupts.
struct Lock {
    word: AtomicU32,
    is_over: AtomicBool,
}

impl Lock {
    fn word(&self) -> &SharedU32<Host<X86_64>> {
        SharedU32::from_core(&self.word)
    }

    /// Takes it and lets it go.
    fn pass(&self) {
        while self.word().compare_exchange(0, 1, Acquire).is_err() {
            if self.is_over.load(Relaxed) {
                return;
            }
            std::thread::yield_now();
        }
        self.word().store(0, Release);
    }
}

/// A thread passes a core's lock by `pass`, another in a switch with its run queue locked; devices interrupt both.
/// Whether they ended up waiting for each other.
fn is_deadlocked(patience: Duration, times: u32, pass: fn(&Lock)) -> bool {
    let host = ThreadHost::<X86_64>::new(&MachineConfig::new(2, 256), Mmus::None).expect("a machine");
    let lock = Arc::new(Lock { word: AtomicU32::new(0), is_over: AtomicBool::new(false) });
    let run_queue = RunQueue::new(patience);
    let run = |cpu: CpuThread<'_, X86_64>, step: &dyn Fn()| {
        let (queue, of_device) = (run_queue.clone(), Arc::clone(&lock));
        let wake = move || {
            if queue.with(|| ()).is_err() {
                of_device.is_over.store(true, Relaxed);
            }
        };
        let interrupted = cpu.interrupt_at_random(cpu.cpu() as u64, 3, wake);
        for _ in 0..times {
            if lock.is_over.load(Relaxed) {
                break;
            }
            step();
        }
        // Who has met the other's interrupt may have had none himself.
        assert!(interrupted.taken() > 0 || lock.is_over.load(Relaxed), "no device has interrupted");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(host.enter(0), &|| pass(&lock)));
        scope.spawn(|| {
            run(host.enter(1), &|| {
                let _ = run_queue.with(|| pass(&lock));
            });
        });
    });
    lock.is_over.load(Relaxed)
}

#[test]
fn a_lock_held_with_interrupts_on_is_a_deadlock() {
    assert!(is_deadlocked(Duration::from_millis(200), u32::MAX, Lock::pass));
}

#[test]
fn a_lock_held_with_interrupts_off_is_none() {
    assert!(!is_deadlocked(Duration::from_secs(60), 30_000, |lock| with_interrupts_off(|| lock.pass())));
}
