//! Read-copy-update with per-CPU epochs.
//!
//! A CPU inside a [`Cx`](crate::cpu::Cx) has published the global epoch it saw on entry; a CPU outside one (idle, in
//! user mode, asleep) is quiescent. The global epoch advances when every CPU inside a section has published the
//! current one; what was retired in epoch `e` may be freed when the global epoch is `e + 2`. (Fraser, "Practical
//! lock-freedom", 2004, section 5.2.3.) Nobody waits for a grace period: what is retired is chained through itself on
//! its CPU and freed by later operations of that CPU.

use super::{AtomicU64, fence};
use crate::machine::Machine;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// The machine-wide epoch; on a line of its own.
#[repr(align(64))]
pub(crate) struct GlobalEpoch<M>(AtomicU64<M>);

/// One CPU's announcement: 0 while quiescent, else the epoch it entered in. Written by its CPU alone.
#[repr(transparent)]
pub(crate) struct LocalEpoch<M>(AtomicU64<M>);

impl<M: Machine> LocalEpoch<M> {
    pub(crate) const fn new() -> Self {
        LocalEpoch(AtomicU64::new(0))
    }

    /// Begins a read-side section. A full barrier: no load of the section can be satisfied before the announcement.
    #[inline(always)]
    pub(crate) fn enter(&self, global: &GlobalEpoch<M>) {
        self.0.swap(global.0.load(Relaxed), SeqCst);
        // Elsewhere than on x86-64 later loads might pass the exchange's store.
        if !M::SWAP_IS_BARRIER {
            fence::<M>(SeqCst);
        }
    }

    /// Ends it.
    #[inline(always)]
    pub(crate) fn exit(&self) {
        self.0.store(0, Release);
    }
}

impl<M: Machine> GlobalEpoch<M> {
    /// The first epoch; 0 means quiescent.
    pub(crate) const fn new() -> Self {
        GlobalEpoch(AtomicU64::new(1))
    }

    /// The epoch at this moment.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(SeqCst)
    }

    /// The epoch in which what the caller has unlinked is retired. A full barrier: a reader who still finds it has
    /// announced that epoch or an earlier one, however it was unlinked.
    pub(crate) fn retire(&self) -> u64 {
        fence::<M>(SeqCst);
        self.now()
    }

    /// Tries to advance; the epoch afterwards. `locals` are the announcements of all CPUs. The caller is quiescent.
    pub(crate) fn advance<'a>(&self, locals: impl Iterator<Item = &'a LocalEpoch<M>>) -> u64
    where
        M: 'a,
    {
        let now = self.0.load(SeqCst);
        for local in locals {
            let seen = local.0.load(SeqCst);
            if seen != 0 && seen != now {
                return now;
            }
        }
        match self.0.compare_exchange(now, now + 1, SeqCst) {
            Ok(_) => now + 1,
            Err(other) => other,
        }
    }
}

/// Things of one kind waiting for a grace period on one CPU: two generations of a chain, identified by a `u64` head
/// (0 for none) which the owner threads through the things themselves. Accessed by its CPU alone.
pub(crate) struct Deferred<M> {
    young: Chain<M>,
    old: Chain<M>,
}

struct Chain<M> {
    head: AtomicU64<M>,
    epoch: AtomicU64<M>,
    length: AtomicU64<M>,
}

impl<M: Machine> Deferred<M> {
    pub(crate) const fn new() -> Self {
        Deferred { young: Chain::new(), old: Chain::new() }
    }

    /// Number of things waiting.
    #[inline(always)]
    pub(crate) fn len(&self) -> u64 {
        self.young.length.load(Relaxed) + self.old.length.load(Relaxed)
    }

    /// Adds `thing`, retired in `epoch`; `link` stores the previous head inside the thing.
    pub(crate) fn push(&self, thing: u64, epoch: u64, link: impl FnOnce(u64)) {
        link(self.young.head.load(Relaxed));
        self.young.head.store(thing, Relaxed);
        // The chain is as old as its youngest member.
        self.young.epoch.store(epoch, Relaxed);
        self.young.length.add_owned(1);
    }

    /// The chain whose grace period is over in epoch `now`, if there is one: its head. Rotates the generations.
    pub(crate) fn take_expired(&self, now: u64) -> Option<u64> {
        let expired = if self.old.head.load(Relaxed) != 0 && self.old.epoch.load(Relaxed) + 2 <= now {
            Some(self.old.take())
        } else {
            None
        };
        if self.old.head.load(Relaxed) == 0 && self.young.head.load(Relaxed) != 0 {
            self.old.epoch.store(self.young.epoch.load(Relaxed), Relaxed);
            self.old.length.store(self.young.length.load(Relaxed), Relaxed);
            self.old.head.store(self.young.take(), Relaxed);
        }
        expired
    }
}

impl<M: Machine> Chain<M> {
    const fn new() -> Self {
        Chain { head: AtomicU64::new(0), epoch: AtomicU64::new(0), length: AtomicU64::new(0) }
    }

    fn take(&self) -> u64 {
        self.length.store(0, Relaxed);
        let head = self.head.load(Acquire);
        self.head.store(0, Relaxed);
        head
    }
}

#[cfg(test)]
mod tests {
    use super::Deferred;
    use crate::arch::X86_64;
    use crate::testing::TestMachine;

    /// Of things that wait together the last retired decides: a reader of it entered later than those of the first left.
    #[test]
    fn a_chain_waits_for_its_youngest_member() {
        let waiting = Deferred::<TestMachine<X86_64>>::new();
        waiting.push(1, 1, |_| ());
        waiting.push(2, 5, |_| ());
        assert_eq!(waiting.take_expired(5), None);
        assert_eq!(waiting.take_expired(6), None);
        assert_eq!((waiting.take_expired(7), waiting.len()), (Some(2), 0));
    }
}
