//! Read-copy-update.

use super::machine::{LoomMachine, become_cpu};
use super::words::{LEADING, NO_FENCES, NO_RELEASE, NO_SEQ_CST, TRAILING, seal, share};
use super::{breaks, holds};
use crate::machine::Machine;
use crate::sync::{AtomicU64, Deferred, GlobalEpoch, LocalEpoch};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

const PREEMPTIONS: usize = 3;
const FREED: &str = "a reader uses what has been freed";
const RACE: &str = "Causality violation";
const OBJECT: u64 = 1;

/// A machine that says its read-modify-writes are barriers, which they are not.
type Liar = LoomMachine<true>;

/// How the object is unlinked.
#[derive(Clone, Copy)]
enum Unlink {
    /// By a sequentially consistent read-modify-write.
    Swap,
    /// By a store that releases.
    Store,
}

struct World<M> {
    global: GlobalEpoch<M>,
    locals: [LocalEpoch<M>; 3],
    /// Leads to the object while that is linked.
    link: AtomicU64<M>,
    /// Not zero once the object has been freed.
    freed: AtomicU64<M>,
    /// The object: written when it is freed.
    object: UnsafeCell<u64>,
}

// SAFETY: loom checks the accesses to the cell, which is what the tests are for.
unsafe impl<M> Sync for World<M> {}

impl<M: Machine> World<M> {
    fn new() -> Arc<Self> {
        let world = Arc::new(World::<M> {
            global: GlobalEpoch::new(),
            locals: [const { LocalEpoch::new() }; 3],
            link: AtomicU64::new(0),
            freed: AtomicU64::new(0),
            object: UnsafeCell::new(0),
        });
        share(&*world);
        world.link.store(OBJECT, Relaxed);
        world.freed.store(0, Relaxed);
        world.locals.iter().for_each(|local| {
            local.enter(&world.global);
            local.exit();
        });
        world.advance();
        world
    }

    fn advance(&self) -> u64 {
        self.global.advance(self.locals.iter())
    }

    fn read(&self, cpu: usize) {
        self.locals[cpu].enter(&self.global);
        if self.link.load(Acquire) == OBJECT {
            assert_eq!(self.freed.load(Relaxed), 0, "{FREED}");
            // SAFETY: loom checks that nobody writes the cell meanwhile.
            self.object.with(|object| assert_eq!(unsafe { *object }, 0, "{FREED}"));
        }
        self.locals[cpu].exit();
    }

    /// Unlinks the object, and frees it as soon as may be, trying so many times.
    fn free(&self, cpu: usize, unlink: Unlink, tries: usize) {
        let waiting = Deferred::<M>::new();
        self.locals[cpu].enter(&self.global);
        match unlink {
            Unlink::Swap => _ = self.link.swap(0, SeqCst),
            Unlink::Store => self.link.store(0, Release),
        }
        waiting.push(OBJECT, self.global.retire(), |_| ());
        self.locals[cpu].exit();
        for _ in 0..tries {
            if waiting.free_expired(self.advance(), 1, |_| 0) > 0 {
                self.freed.store(1, Relaxed);
                // SAFETY: loom checks that nobody else accesses the cell.
                self.object.with_mut(|object| unsafe { *object = 1 });
            }
        }
    }
}

/// One CPU reads, one frees.
fn two<M: Machine>(unlink: Unlink) {
    let world = World::<M>::new();
    seal();
    let reader = world.clone();
    let thread = thread::spawn(move || {
        become_cpu(1);
        reader.read(1);
    });
    world.free(0, unlink, 3);
    thread.join().expect("the thread ends");
}

/// One CPU reads, one frees, and one advances the epoch for others.
fn three<M: Machine>(unlink: Unlink) {
    let world = World::<M>::new();
    seal();
    let (reader, helper) = (world.clone(), world.clone());
    let threads = [
        thread::spawn(move || {
            become_cpu(1);
            reader.read(1);
        }),
        thread::spawn(move || {
            become_cpu(2);
            helper.advance();
            helper.advance();
        }),
    ];
    world.free(0, unlink, 2);
    threads.into_iter().for_each(|thread| thread.join().expect("the thread ends"));
}

#[test]
fn what_a_reader_can_reach_is_not_freed() {
    holds(LEADING, PREEMPTIONS, || two::<LoomMachine>(Unlink::Swap));
    holds(TRAILING, PREEMPTIONS, || two::<LoomMachine>(Unlink::Swap));
    holds(LEADING, PREEMPTIONS, || two::<LoomMachine>(Unlink::Store));
    holds(TRAILING, PREEMPTIONS, || two::<LoomMachine>(Unlink::Store));
}

#[test]
fn nor_if_a_third_cpu_advances_the_epoch() {
    holds(LEADING, PREEMPTIONS, || three::<LoomMachine>(Unlink::Swap));
    holds(TRAILING, PREEMPTIONS, || three::<LoomMachine>(Unlink::Swap));
}

#[test]
fn nor_if_it_is_unlinked_by_a_plain_store() {
    holds(LEADING, PREEMPTIONS, || three::<LoomMachine>(Unlink::Store));
    holds(TRAILING, PREEMPTIONS, || three::<LoomMachine>(Unlink::Store));
}

#[test]
fn but_it_is_without_sequential_consistency() {
    breaks(NO_SEQ_CST | NO_FENCES, PREEMPTIONS, || two::<LoomMachine>(Unlink::Swap), RACE);
}

#[test]
fn and_if_an_announcement_is_no_barrier() {
    breaks(LEADING, PREEMPTIONS, || two::<Liar>(Unlink::Swap), RACE);
}

#[test]
fn and_if_retiring_is_no_barrier() {
    // The exchanges' own fences make announcements barriers here: what is missing is the fence of
    // `GlobalEpoch::retire`.
    breaks(TRAILING | NO_FENCES, PREEMPTIONS, || three::<Liar>(Unlink::Store), RACE);
    holds(TRAILING, PREEMPTIONS, || three::<Liar>(Unlink::Store));
}

#[test]
fn and_if_the_end_of_a_section_does_not_release() {
    breaks(LEADING | NO_RELEASE, PREEMPTIONS, || two::<LoomMachine>(Unlink::Swap), RACE);
}
