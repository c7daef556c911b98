//! Read-copy-update with per-CPU epochs.
//!
//! A CPU inside a [`Cx`](crate::cpu::Cx) has published the global epoch it saw on entry; a CPU outside one (idle, in
//! user mode, asleep) is quiescent. The global epoch advances when every CPU inside a section has published the
//! current one; what was retired in epoch `e` may be freed when the global epoch is `e + 2`. (Fraser, "Practical
//! lock-freedom", 2004, section 5.2.3.) Nobody waits for a grace period: what is retired is chained through itself on
//! its CPU and freed by later operations of that CPU.

use super::{AtomicU64, fence};
use crate::machine::Machine;
use core::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

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

/// Things of one kind waiting for a grace period on one CPU: generations of a chain, identified by a `u64` head (0 for
/// none) which the owner threads through the things themselves. Accessed by its CPU alone.
pub(crate) struct Deferred<M> {
    young: Chain<M>,
    old: Chain<M>,
    /// Those whose grace period is over, as far as they have not been freed yet.
    ready: Chain<M>,
}

struct Chain<M> {
    head: AtomicU64<M>,
    epoch: AtomicU64<M>,
    length: AtomicU64<M>,
}

impl<M: Machine> Deferred<M> {
    pub(crate) const fn new() -> Self {
        Deferred { young: Chain::new(), old: Chain::new(), ready: Chain::new() }
    }

    /// Number of things waiting, those included whose grace period is over.
    #[inline(always)]
    pub(crate) fn len(&self) -> u64 {
        [&self.young, &self.old, &self.ready].iter().map(|chain| chain.length.load(Relaxed)).sum()
    }

    /// Whether something waits whose grace period is over.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.head.load(Relaxed) != 0
    }

    /// Adds `thing`, retired in `epoch`; `link` stores the previous head inside the thing.
    pub(crate) fn push(&self, thing: u64, epoch: u64, link: impl FnOnce(u64)) {
        link(self.young.head.load(Relaxed));
        self.young.head.store(thing, Relaxed);
        // The chain is as old as its youngest member.
        self.young.epoch.store(epoch, Relaxed);
        self.young.length.add_owned(1);
    }

    /// Frees up to `most` things whose grace period is over in epoch `now`; how many. `free` is called with each, and
    /// says what follows it. Rotates the generations.
    pub(crate) fn free_expired(&self, now: u64, most: u64, free: impl FnMut(u64) -> u64) -> u64 {
        let expired = self.old.head.load(Relaxed) != 0 && self.old.epoch.load(Relaxed) + 2 <= now;
        // One chain at a time: there is no end at which a second could be joined to it.
        if expired && !self.is_ready() {
            self.old.pass_to(&self.ready);
        }
        if self.old.head.load(Relaxed) == 0 && self.young.head.load(Relaxed) != 0 {
            self.young.pass_to(&self.old);
        }
        self.ready.take_up_to(most, free)
    }
}

impl<M: Machine> Chain<M> {
    const fn new() -> Self {
        Chain { head: AtomicU64::new(0), epoch: AtomicU64::new(0), length: AtomicU64::new(0) }
    }

    /// Gives all it has to `other`, which is empty.
    fn pass_to(&self, other: &Self) {
        for (from, to) in [(&self.epoch, &other.epoch), (&self.length, &other.length), (&self.head, &other.head)] {
            to.store(from.load(Relaxed), Relaxed);
        }
        self.length.store(0, Relaxed);
        self.head.store(0, Relaxed);
    }

    /// Takes things out, the first ones, and passes each to `free`, which says what follows it; how many.
    fn take_up_to(&self, most: u64, mut free: impl FnMut(u64) -> u64) -> u64 {
        let (mut next, mut taken) = (self.head.load(Relaxed), 0);
        while next != 0 && taken < most {
            next = free(next);
            taken += 1;
        }
        if taken > 0 {
            self.length.add_owned(taken.wrapping_neg());
            self.head.store(next, Relaxed);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::Deferred;
    use crate::arch::X86_64;
    use crate::testing::TestMachine;
    use std::vec;
    use std::vec::Vec;

    /// A chain of one thing each: nothing follows it.
    fn freed(waiting: &Deferred<TestMachine<X86_64>>, now: u64) -> Vec<u64> {
        let mut freed = Vec::new();
        waiting.free_expired(now, 10, |thing| {
            freed.push(thing);
            thing - 1
        });
        freed
    }

    /// Of things that wait together the last retired decides: a reader of it entered later than those of the first
    /// left.
    #[test]
    fn a_chain_waits_for_its_youngest_member() {
        let waiting = Deferred::new();
        waiting.push(1, 1, |_| ());
        waiting.push(2, 5, |next| assert_eq!(next, 1));
        assert!(freed(&waiting, 5).is_empty());
        assert!(freed(&waiting, 6).is_empty());
        assert_eq!((freed(&waiting, 7), waiting.len()), (vec![2, 1], 0));
    }

    /// However many wait: no more are freed at a time than was said, none is forgotten, and what comes meanwhile waits.
    #[test]
    fn a_chain_is_freed_in_portions() {
        let waiting = Deferred::<TestMachine<X86_64>>::new();
        (1..=1000).for_each(|thing| waiting.push(thing, 1, |next| assert_eq!(next, thing - 1)));
        assert_eq!(waiting.free_expired(1, 64, |_| unreachable!("nothing is ready")), 0);
        let (mut last, mut turns) = (1001, 0);
        while last > 1 {
            waiting.push(2000 + turns, 3 + turns, |_| ());
            let before = last;
            let freed = waiting.free_expired(3 + turns, 64, |thing| {
                assert_eq!(thing, last - 1);
                last = thing;
                thing - 1
            });
            assert!(freed == before - last && freed <= 64, "{freed} at once");
            turns += 1;
        }
        assert_eq!((turns, waiting.len()), (1000u64.div_ceil(64), turns));
    }
}
