//! Global address-space identifiers, for architectures whose flush is a broadcast.
//!
//! A space has one identifier, the same on all CPUs, from a pool. When the pool is empty it *rolls over*: a new
//! generation of identifiers begins, in which only those are taken that CPUs run with at that moment. They keep their
//! meaning; every other space gets a new one when it is next loaded. What TLBs hold under the others is dead, so each
//! CPU flushes all of its TLB before it next runs with an identifier that it has not run with all along.
//!
//! * A CPU states in `active` with which identifier it runs, before it loads the root. A rollover takes that away, and
//!   so learns it; the CPU finds it gone at its next switch, which then goes the slow way, under the lock.
//! * The quick way exchanges `active` where an identifier of the current generation is expected to be. A rollover first
//!   announces the generation and then takes `active` away: a switch sees the generation, or fails to exchange, or is
//!   seen by the rollover (J6).
//! * A CPU which does not switch over several rollovers keeps its identifier in all of them.

use super::SpaceTlb;
use crate::arch::{identifiers, is_broadcast};
use crate::cpu::Cx;
use crate::error::BootError;
use crate::guard::Guard;
use crate::machine::{Asid, Machine};
use crate::phys::BootMemory;
use crate::stat::Event;
use crate::sync::{AtomicU64, Rank, RawLock};
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// Bits of an identifier's number, below its generation.
const NUMBER_BITS: u32 = 16;

/// An identifier with the generation that it was given out or confirmed in; 0 for none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Identifier(pub(super) u64);

impl Identifier {
    fn new(generation: u64, number: u64) -> Self {
        Identifier(generation << NUMBER_BITS | number)
    }

    /// The hardware's name; `None` if there is none.
    #[inline(always)]
    pub(super) fn asid(self) -> Option<Asid> {
        (self.0 != 0).then_some(Asid(self.0 as u16))
    }

    #[inline(always)]
    fn generation(self) -> u64 {
        self.0 >> NUMBER_BITS
    }

    fn number(self) -> u64 {
        self.0 & ((1 << NUMBER_BITS) - 1)
    }
}

/// One CPU's part.
pub(super) struct CpuIdentifiers<M> {
    /// The identifier the CPU runs with; 0 when a rollover has taken it away.
    active: AtomicU64<M>,
    /// The one it ran with at the last rollover. Under the pool's lock.
    reserved: AtomicU64<M>,
    /// Not zero if the TLB must be flushed before the CPU runs with another identifier. Under the pool's lock.
    must_flush: AtomicU64<M>,
}

impl<M: Machine> CpuIdentifiers<M> {
    pub(super) const fn new() -> Self {
        // Nobody knows what a TLB holds at first.
        CpuIdentifiers { active: AtomicU64::new(0), reserved: AtomicU64::new(0), must_flush: AtomicU64::new(1) }
    }
}

/// The pool. Empty where flushes are interrupts.
pub(crate) struct Identifiers<M> {
    lock: RawLock<M>,
    /// The current generation, from 1. Written under the lock.
    generation: AtomicU64<M>,
    /// Numbers below this one are taken. Under the lock.
    next: AtomicU64<M>,
    /// A bit for each number, set if it is taken in this generation. Under the lock.
    taken: NonNull<AtomicU64<M>>,
    words: usize,
}

impl<M: Machine> Identifiers<M> {
    /// A pool with everything free.
    pub(crate) fn new(boot: &mut BootMemory<'_, M>, cpus: usize, frames: u64) -> Result<Self, BootError> {
        let count = if is_broadcast::<M::Arch>() { identifiers::<M::Arch>() } else { 0 };
        let (mut words, mut taken) = (0, NonNull::dangling());
        if is_broadcast::<M::Arch>() {
            if count <= cpus {
                return Err(BootError::TooFewIdentifiers { identifiers: count, cpus });
            }
            words = (count + 1).div_ceil(64);
            let bytes = words * size_of::<AtomicU64<M>>();
            let memory = boot.alloc(bytes, align_of::<AtomicU64<M>>());
            taken = memory.ok_or(BootError::TooLittleMemory { frames })?.cast();
        }
        Ok(Identifiers { lock: RawLock::new(), generation: AtomicU64::new(1), next: AtomicU64::new(1), taken, words })
    }

    fn taken(&self) -> &[AtomicU64<M>] {
        // SAFETY: `new` got so many words of zeroed memory for good, or there are none.
        unsafe { core::slice::from_raw_parts(self.taken.as_ptr(), self.words) }
    }

    fn take(&self, number: u64) {
        let word = &self.taken()[(number / 64) as usize];
        word.store(word.load(Relaxed) | 1 << (number % 64), Relaxed);
    }

    /// Takes a free number, if there is one.
    fn take_free(&self) -> Option<u64> {
        let mut number = self.next.load(Relaxed);
        while number <= identifiers::<M::Arch>() as u64 {
            // Those below are taken, or counted as such.
            let below = (1u64 << (number % 64)) - 1;
            let free = !(self.taken()[(number / 64) as usize].load(Relaxed) | below);
            if free == 0 {
                number = (number / 64 + 1) * 64;
                continue;
            }
            number = number / 64 * 64 + free.trailing_zeros() as u64;
            if number <= identifiers::<M::Arch>() as u64 {
                self.take(number);
                self.next.store(number + 1, Relaxed);
                return Some(number);
            }
        }
        self.next.store(number, Relaxed);
        None
    }
}

impl<M: Machine> Cx<'_, M> {
    /// The identifier with which this CPU runs `space` from now on; what its TLB holds under it is of that space. The
    /// handler is kept out. The root is to be loaded next.
    pub(super) fn enter_identifier(&self, space: &SpaceTlb<M>) -> Asid {
        let active = &self.cpu().tlb.identifiers.active;
        let before = active.load(Relaxed);
        let identifier = Identifier(space.identifier.load(SeqCst));
        if let Some(asid) = identifier.asid()
            && before != 0
            && identifier.generation() == self.vm().identifiers().generation.load(SeqCst)
            && active.compare_exchange(before, identifier.0, SeqCst).is_ok()
        {
            return asid;
        }
        self.enter_slowly(space)
    }

    /// A switch waits for the pool's lock, perhaps with interrupts off and a run queue locked, which the handler of a
    /// device's interrupt may want: so nothing interrupts whoever has it (J14).
    #[cold]
    fn enter_slowly(&self, space: &SpaceTlb<M>) -> Asid {
        if !M::guard(Guard::PoolUninterrupted) {
            return self.enter_locked(space);
        }
        self.vm().machine().with_interrupts_off(|| self.enter_locked(space))
    }

    fn enter_locked(&self, space: &SpaceTlb<M>) -> Asid {
        let (pool, own) = (self.vm().identifiers(), &self.cpu().tlb.identifiers);
        let _guard = pool.lock.lock(self, Rank::Identifiers);
        let mut identifier = Identifier(space.identifier.load(Relaxed));
        if identifier.generation() != pool.generation.load(Relaxed) {
            identifier = self.renew(identifier);
            space.identifier.store(identifier.0, SeqCst);
        }
        if own.must_flush.swap(0, Relaxed) != 0 && M::guard(Guard::RolloverFlush) {
            self.vm().machine().invalidate_all();
            self.count(Event::LocalFlushAll, 1);
        }
        own.active.store(identifier.0, SeqCst);
        Asid(identifier.number() as u16)
    }

    /// The identifier of the current generation for a space that had `old` in an earlier one. The pool is locked.
    fn renew(&self, old: Identifier) -> Identifier {
        let pool = self.vm().identifiers();
        let renewed = Identifier::new(pool.generation.load(Relaxed), old.number());
        let mut is_reserved = false;
        for cpu in self.vm().cpus() {
            let reserved = &cpu.tlb.identifiers.reserved;
            if old.0 != 0 && reserved.load(Relaxed) == old.0 {
                // A CPU runs with it all along. The generation goes along: it is compared again at the next rollover.
                reserved.store(renewed.0, Relaxed);
                is_reserved = true;
            }
        }
        if is_reserved {
            return renewed;
        }
        loop {
            if let Some(number) = pool.take_free() {
                return Identifier::new(pool.generation.load(Relaxed), number);
            }
            // Leaves one identifier free at least: there are more than CPUs.
            self.roll_over();
        }
    }

    /// Begins a new generation. The pool is locked.
    #[cold]
    fn roll_over(&self) {
        let pool = self.vm().identifiers();
        pool.generation.store(pool.generation.load(Relaxed) + 1, SeqCst);
        pool.taken().iter().for_each(|word| word.store(0, Relaxed));
        pool.next.store(1, Relaxed);
        for cpu in self.vm().cpus() {
            let other = &cpu.tlb.identifiers;
            let running = match other.active.swap(0, SeqCst) {
                // Not switched since the last rollover.
                0 => other.reserved.load(Relaxed),
                active => active,
            };
            let kept = if M::guard(Guard::RolloverReserve) { running } else { 0 };
            other.reserved.store(kept, Relaxed);
            if kept != 0 {
                pool.take(Identifier(kept).number());
            }
            other.must_flush.store(1, Relaxed);
        }
        self.count(Event::Rollover, 1);
    }
}
