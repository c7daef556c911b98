//! The spinlock.
//!
//! Held only with pre-emption off (a [`Cx`] is needed to take it), never across anything that sleeps. A waiter serves
//! its own flush mailbox, so that a holder which waits for this CPU's acknowledgement gets it (J13).

use super::{AtomicU32, order::Rank};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use core::marker::PhantomData;
use core::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

/// A lock without data, four bytes, embedded where it protects.
#[repr(transparent)]
pub(crate) struct RawLock<M>(AtomicU32<M>);

impl<M: Machine> RawLock<M> {
    pub(crate) const fn new() -> Self {
        RawLock(AtomicU32::new(0))
    }

    /// Takes the lock. One atomic read-modify-write when it is free, sequentially consistent: what the holder loads so
    /// afterwards is ordered against whoever looks whether the lock is held ([`RawLock::wait_free`]).
    #[inline(always)]
    pub(crate) fn lock<'l>(&'l self, cx: &'l Cx<'_, M>, rank: Rank) -> LockGuard<'l, M> {
        #[cfg(debug_assertions)]
        cx.held_locks(|held| held.acquire(rank));
        if self.0.compare_exchange(0, 1, SeqCst).is_err() {
            self.lock_contended(cx, rank);
        }
        LockGuard {
            lock: self,
            #[cfg(debug_assertions)]
            cx,
            #[cfg(debug_assertions)]
            rank,
            _context: PhantomData,
        }
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_lock<'l>(&'l self, cx: &'l Cx<'_, M>, rank: Rank) -> Option<LockGuard<'l, M>> {
        self.0.compare_exchange(0, 1, SeqCst).ok()?;
        #[cfg(debug_assertions)]
        cx.held_locks(|held| held.acquire(rank));
        #[cfg(not(debug_assertions))]
        let _ = (cx, rank);
        Some(LockGuard {
            lock: self,
            #[cfg(debug_assertions)]
            cx,
            #[cfg(debug_assertions)]
            rank,
            _context: PhantomData,
        })
    }

    /// Whether somebody holds the lock, at this moment.
    pub(crate) fn is_held(&self) -> bool {
        self.0.load(SeqCst) != 0
    }

    /// Waits a short while for the lock to be given up, if somebody holds it.
    pub(crate) fn await_release(&self, machine: &M) {
        if self.is_held() {
            machine.wait_change(self.0.as_core(), 1);
        }
    }

    /// The word that the lock is, for frames in which it is the folio lock.
    pub(crate) fn word(&self) -> &AtomicU32<M> {
        &self.0
    }

    /// Waits until the lock is free for a moment. Who takes it afterwards sees what the caller stored, sequentially
    /// consistent, before.
    pub(crate) fn wait_free(&self, cx: &Cx<'_, M>) {
        while self.0.load(SeqCst) != 0 {
            serve(cx);
            cx.vm().machine().wait_change(self.0.as_core(), 1);
        }
    }

    #[cold]
    fn lock_contended(&self, cx: &Cx<'_, M>, rank: Rank) {
        loop {
            while self.0.load(Relaxed) != 0 {
                // Whoever holds a mailbox's lock waits for nobody, and serving takes such a lock itself.
                if rank != Rank::Mailbox {
                    serve(cx);
                }
                cx.vm().machine().wait_change(self.0.as_core(), 1);
            }
            if self.0.compare_exchange(0, 1, SeqCst).is_ok() {
                return;
            }
        }
    }
}

/// Serves the waiter's flush mailbox.
fn serve<M: Machine>(cx: &Cx<'_, M>) {
    if M::guard(Guard::ServeWhileLocking) {
        cx.serve_mailbox();
    }
}

/// Proof that a [`RawLock`] is held; dropping it releases.
pub(crate) struct LockGuard<'l, M: Machine> {
    lock: &'l RawLock<M>,
    #[cfg(debug_assertions)]
    cx: &'l Cx<'l, M>,
    #[cfg(debug_assertions)]
    rank: Rank,
    /// Pre-emption stays off while the lock is held.
    _context: PhantomData<&'l Cx<'l, M>>,
}

impl<M: Machine> Drop for LockGuard<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        self.cx.held_locks(|held| held.release(self.rank));
        self.lock.0.store(0, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{Rank, RawLock};
    use crate::cpu::Cx;
    use crate::testing::{TestMachine, become_cpu};
    use crate::vm::Vm;

    #[test]
    fn a_lock_that_is_held_is_not_got_by_trying() {
        become_cpu(0);
        let vm: Vm<TestMachine> = Vm::new(TestMachine::new(1000)).expect("a machine that boots");
        let (cx, lock) = (Cx::enter(&vm), RawLock::new());
        let held = lock.lock(&cx, Rank::Slab);
        // What is not got counts in no order of locks.
        assert!(lock.is_held() && lock.try_lock(&cx, Rank::Swap).is_none());
        drop(held);
        let tried = lock.try_lock(&cx, Rank::Slab).expect("a free lock");
        assert!(lock.is_held() && lock.try_lock(&cx, Rank::Mailbox).is_none());
        drop(tried);
        assert!(!lock.is_held());
    }
}
