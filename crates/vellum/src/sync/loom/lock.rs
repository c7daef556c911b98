//! The spinlock.

use super::machine::{LoomMachine, become_cpu, enter, vm};
use super::words::{LEADING, NO_ACQUIRE, NO_RELEASE, NO_SEQ_CST, TRAILING, seal, share};
use super::{breaks, holds};
use crate::sync::{AtomicU64, Rank, RawLock};
use crate::vm::Vm;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

const PREEMPTIONS: usize = 3;
const RACE: &str = "Causality violation";
const GOES_ON: &str = "goes on after the wait";

struct Locked {
    vm: &'static Vm<LoomMachine>,
    lock: RawLock<LoomMachine>,
    words: [AtomicU64<LoomMachine>; 2],
    cell: UnsafeCell<u64>,
}

// SAFETY: loom checks the accesses to the cell, which is what the tests are for.
unsafe impl Sync for Locked {}

impl Locked {
    fn new() -> Arc<Self> {
        let words = [const { AtomicU64::new(0) }; 2];
        let locked = Arc::new(Locked { vm: vm(), lock: RawLock::new(), words, cell: UnsafeCell::new(0) });
        share(&locked.lock);
        share(&locked.words);
        locked.words.iter().for_each(|word| word.store(0, Relaxed));
        drop(locked.lock.lock(&enter(locked.vm), Rank::Zone));
        locked
    }

    /// Adds one to both words, and to the cell, under the lock.
    fn add(&self) {
        let cx = enter(self.vm);
        let _guard = self.lock.lock(&cx, Rank::Zone);
        let [first, second] = [0, 1].map(|place: usize| self.words[place].load(Relaxed));
        assert_eq!(first, second, "what the last holder wrote is seen in part");
        self.words.iter().for_each(|word| word.store(first + 1, Relaxed));
        // SAFETY: loom checks that nobody else accesses the cell.
        self.cell.with_mut(|cell| unsafe { *cell += 1 });
    }
}

/// Two CPUs hold the lock in turn.
fn exclusion() {
    let locked = Locked::new();
    seal();
    let other = locked.clone();
    let thread = thread::spawn(move || {
        become_cpu(1);
        other.add();
    });
    locked.add();
    thread.join().expect("the thread ends");
    assert_eq!(locked.words[1].load(Relaxed), 2, "an addition is lost");
}

#[test]
fn what_a_holder_wrote_is_seen_by_the_next() {
    holds(LEADING, PREEMPTIONS, exclusion);
    holds(TRAILING, PREEMPTIONS, exclusion);
    // That much needs no sequential consistency.
    holds(NO_SEQ_CST, PREEMPTIONS, exclusion);
}

#[test]
fn but_not_if_the_lock_does_not_release() {
    breaks(LEADING | NO_RELEASE, PREEMPTIONS, exclusion, RACE);
    breaks(NO_SEQ_CST | NO_RELEASE, PREEMPTIONS, exclusion, RACE);
}

#[test]
fn and_not_if_it_does_not_acquire() {
    breaks(LEADING | NO_ACQUIRE, PREEMPTIONS, exclusion, RACE);
    breaks(NO_SEQ_CST | NO_ACQUIRE, PREEMPTIONS, exclusion, RACE);
}

/// One CPU announces itself and waits until the lock is free; the other one, with the lock, looks for announcements,
/// and works if there is none.
fn announcement() {
    let locked = Locked::new();
    locked.lock.wait_free(&enter(locked.vm));
    seal();
    let holder = locked.clone();
    let thread = thread::spawn(move || {
        become_cpu(1);
        let cx = enter(holder.vm);
        let _guard = holder.lock.lock(&cx, Rank::Zone);
        let [announced, work] = &holder.words;
        let works = announced.load(SeqCst) == 0;
        if works {
            work.store(1, Relaxed);
        }
        works
    });
    let [announced, work] = &locked.words;
    announced.store(1, SeqCst);
    locked.lock.wait_free(&enter(locked.vm));
    let seen = work.load(Relaxed);
    let works = thread.join().expect("the thread ends");
    assert!(!works || seen == 1, "the holder has seen no announcement and goes on after the wait");
}

#[test]
fn who_holds_the_lock_after_a_wait_has_seen_what_was_stored_before() {
    holds(LEADING, PREEMPTIONS, announcement);
    holds(TRAILING, PREEMPTIONS, announcement);
}

#[test]
fn but_not_without_sequential_consistency() {
    breaks(NO_SEQ_CST, PREEMPTIONS, announcement, GOES_ON);
}

#[test]
fn and_not_if_the_end_of_the_wait_is_not_ordered() {
    breaks(LEADING | NO_RELEASE, PREEMPTIONS, announcement, GOES_ON);
    breaks(LEADING | NO_ACQUIRE, PREEMPTIONS, announcement, GOES_ON);
}
