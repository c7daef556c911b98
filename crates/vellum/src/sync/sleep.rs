//! The sleeping lock: held across I/O, taken outside the core, or tried inside it.
//!
//! It is a word, so that it can be embedded: the lock of an object's write-back, the folio lock in the descriptor of a
//! frame. Whoever sleeps for it needs nothing that keeps the word allocated but the word itself: descriptors of frames
//! are never freed, so waiting for a folio takes no reference (F6).

use super::AtomicU32;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::vm::Vm;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may be asleep for it.
const AWAITED: u32 = 2;

/// A lock that is held across I/O.
#[repr(transparent)]
pub(crate) struct SleepLock<M>(AtomicU32<M>);

impl<M: Machine> SleepLock<M> {
    pub(crate) const fn new() -> Self {
        SleepLock(AtomicU32::new(FREE))
    }

    /// The sleeping lock that `word` is, for as long as it is used as one.
    pub(crate) fn of(word: &AtomicU32<M>) -> &Self {
        // SAFETY: the type is transparent.
        unsafe { &*(&raw const *word).cast() }
    }

    /// Takes the lock, sleeping for it: without a [`Cx`](crate::cpu::Cx).
    pub(crate) fn lock<'a>(&'a self, vm: &'a Vm<M>) -> SleepGuard<'a, M> {
        self.acquire(vm);
        SleepGuard { lock: self, vm }
    }

    /// As [`SleepLock::lock`], to be ended by [`SleepLock::release`].
    pub(crate) fn acquire(&self, vm: &Vm<M>) {
        if self.0.compare_exchange(FREE, HELD, SeqCst).is_err() {
            while self.0.swap(AWAITED, Acquire) != FREE {
                vm.machine().sleep(self.0.as_core(), AWAITED);
            }
        }
    }

    /// Takes the lock if it is free, to be ended by [`SleepLock::release`]. In any context.
    #[must_use = "whether the lock was taken"]
    pub(crate) fn try_acquire(&self) -> bool {
        self.0.compare_exchange(FREE, HELD, SeqCst).is_ok()
    }

    /// Ends what [`SleepLock::acquire`] or [`SleepLock::try_acquire`] began. In any context.
    pub(crate) fn release(&self, vm: &Vm<M>) {
        if self.0.swap(FREE, Release) == AWAITED {
            vm.machine().wake(self.0.as_core());
        }
    }

    /// Waits a short while for the lock to change hands, if somebody holds it, inside the core, for a holder who is
    /// there too and does not sleep; no lock is held.
    pub(crate) fn await_release(&self, cx: &Cx<'_, M>) {
        let seen = self.0.load(Acquire);
        if seen != FREE {
            cx.serve_mailbox();
            cx.vm().machine().wait_change(self.0.as_core(), seen);
        }
    }

    /// Whether somebody holds it.
    pub(crate) fn is_held(&self) -> bool {
        self.0.load(Acquire) != FREE
    }

    /// Sleeps until the lock may be free, without taking it, unless `is_still_it` finds that the word is no longer the
    /// lock it was. May return early.
    ///
    /// The holder is told first that he is waited for; so if the word is still that lock afterwards, he will wake us.
    pub(crate) fn wait(&self, vm: &Vm<M>, is_still_it: impl FnOnce() -> bool) {
        let seen = self.0.load(Relaxed);
        let is_announced = seen == AWAITED || seen == HELD && self.0.compare_exchange(HELD, AWAITED, SeqCst).is_ok();
        if is_announced && is_still_it() {
            vm.machine().sleep(self.0.as_core(), AWAITED);
        }
    }
}

/// Proof that a [`SleepLock`] is held.
pub(crate) struct SleepGuard<'a, M: Machine> {
    lock: &'a SleepLock<M>,
    vm: &'a Vm<M>,
}

impl<M: Machine> Drop for SleepGuard<'_, M> {
    fn drop(&mut self) {
        self.lock.release(self.vm);
    }
}
