//! How much memory is promised to programs, and how much may be.
//!
//! Memory that a program may store to and that then is its own is *committed* to it: of private mappings that can be
//! stored to, or could once, every page, whether it is there or not; of shared memory every page of its size. What was
//! mapped, or made, without a reservation is not.
//!
//! **The count** is what the slots of all spaces say: the class of a slot says whether its pages are counted
//! ([`ClassFlags::COMMITTED`](crate::space)), and whoever changes the class of a slot counts the difference
//! ([`Cx::end_slots`]), on his CPU, in a line that no other CPU writes. So nothing but the page tables knows what is
//! committed, and the two cannot disagree; the audit recounts.
//!
//! **The check** is apart from that, before anything is changed ([`Vm::may_commit`]). Unless the policy is
//! [`Overcommit::Never`] it is one comparison with a word that nobody writes. Under *never* it takes a [`Ticket`] for
//! the pages that are to come, which stands for them until the slots do; see [`ticket`].

mod ticket;

#[cfg(test)]
mod tests;

pub(crate) use ticket::Ticket;

use crate::arch::Arch;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::sync::AtomicU64;
use crate::vm::Vm;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use ticket::Tickets;

/// Whether memory may be promised that there is not; Linux's `vm.overcommit_memory`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overcommit {
    /// What is asked for at once must not be more than memory and swap together (0).
    #[default]
    Heuristic,
    /// Nothing is refused (1).
    Always,
    /// All that is committed must be within a limit (2). [`MapFlags::NO_RESERVE`](crate::ops::MapFlags) means nothing.
    ///
    /// The calls that commit write one line that all CPUs share.
    Never(CommitLimit),
}

/// The limit of [`Overcommit::Never`]. The size of all swap areas that are on comes on top of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitLimit {
    /// So many hundredths of memory (`vm.overcommit_ratio`).
    Percent(u32),
    /// So many bytes (`vm.overcommit_kbytes`).
    Bytes(u64),
}

impl Default for CommitLimit {
    /// Half of memory.
    fn default() -> Self {
        CommitLimit::Percent(50)
    }
}

/// What an instance knows of it, beside what its CPUs count.
#[repr(C, align(64))]
pub(crate) struct Commitment<M> {
    /// So many pages at once need no further question: none under *never*.
    unasked: AtomicU64<M>,
    /// The policy, in 64 bits.
    policy: AtomicU64<M>,
    /// Pages of memory that can be used; constant.
    memory: u64,
    /// Pages of the swap areas that are on.
    swap: AtomicU64<M>,
    pub(crate) tickets: Tickets<M>,
}

const HEURISTIC: u64 = 0;
const ALWAYS: u64 = 1;
const NEVER_PERCENT: u64 = 2;
const NEVER_PAGES: u64 = 3;
const KIND_BITS: u32 = 2;

impl<M: Machine> Commitment<M> {
    pub(crate) const fn new() -> Self {
        Commitment {
            unasked: AtomicU64::new(0),
            policy: AtomicU64::new(HEURISTIC),
            memory: 0,
            swap: AtomicU64::new(0),
            tickets: Tickets::new(),
        }
    }

    /// Says once how many pages of memory there are.
    pub(crate) fn set_memory(&mut self, pages: u64) {
        self.memory = pages;
        *self.unasked.get_mut() = pages;
    }

    fn policy(&self) -> Overcommit {
        Self::policy_of(self.policy.load(SeqCst))
    }

    fn policy_of(word: u64) -> Overcommit {
        let value = word >> KIND_BITS;
        match word & ((1 << KIND_BITS) - 1) {
            HEURISTIC => Overcommit::Heuristic,
            ALWAYS => Overcommit::Always,
            NEVER_PERCENT => Overcommit::Never(CommitLimit::Percent(value as u32)),
            _ => Overcommit::Never(CommitLimit::Bytes(value << M::Arch::PAGE_SHIFT)),
        }
    }

    /// What may be committed in all, in pages.
    fn limit(&self, limit: CommitLimit) -> u64 {
        let memory = match limit {
            CommitLimit::Percent(percent) => (self.memory as u128 * percent as u128 / 100).min(u64::MAX as u128) as u64,
            CommitLimit::Bytes(bytes) => bytes >> M::Arch::PAGE_SHIFT,
        };
        memory.saturating_add(self.swap.load(SeqCst))
    }

    /// What one request may ask for at most, in pages, where each is looked at alone.
    fn at_once(&self) -> u64 {
        self.memory.saturating_add(self.swap.load(SeqCst))
    }

    /// The most pages at once for which nobody need ask, by a policy.
    fn passes_unasked(&self, policy: Overcommit) -> u64 {
        match policy {
            Overcommit::Heuristic => self.memory,
            Overcommit::Always => u64::MAX,
            Overcommit::Never(_) => 0,
        }
    }

    /// Counts the pages of an area that was switched on.
    pub(crate) fn add_swap(&self, pages: u64) {
        self.swap.fetch_add(pages, SeqCst);
    }

    /// Counts those of one that is being switched off.
    pub(crate) fn remove_swap(&self, pages: u64) {
        self.swap.fetch_sub(pages, SeqCst);
    }

    /// Pages of the swap areas that are on.
    pub(crate) fn swap_pages(&self) -> u64 {
        self.swap.load(SeqCst)
    }
}

impl<M: Machine> Vm<M> {
    /// Says how much memory may be promised: [`Overcommit::Heuristic`] at first. What is committed already stays, also
    /// if it is more than a new limit; calls under way may heed the policy or not.
    pub fn set_overcommit(&self, policy: Overcommit) {
        let (kind, value) = match policy {
            Overcommit::Heuristic => (HEURISTIC, 0),
            Overcommit::Always => (ALWAYS, 0),
            Overcommit::Never(CommitLimit::Percent(percent)) => (NEVER_PERCENT, percent.into()),
            Overcommit::Never(CommitLimit::Bytes(bytes)) => (NEVER_PAGES, bytes >> M::Arch::PAGE_SHIFT),
        };
        let commitment = self.commitment();
        // Whoever asks further finds the policy that made him.
        commitment.policy.store(kind | value << KIND_BITS, SeqCst);
        // Of two who set it at once, whoever stores last here has seen the policy that stays.
        loop {
            let seen = commitment.policy.load(SeqCst);
            // By the word that is compared: read again it could be another, and be this one once more below.
            let policy = Commitment::<M>::policy_of(seen);
            commitment.unasked.store(commitment.passes_unasked(policy), SeqCst);
            if commitment.policy.load(SeqCst) == seen {
                return;
            }
        }
    }

    /// The policy; of a limit in bytes, whole pages.
    pub fn overcommit(&self) -> Overcommit {
        self.commitment().policy()
    }

    /// Bytes that are committed (`Committed_AS`): of all spaces and objects, whatever the policy is. Exact while
    /// nothing changes; beside changes, what one CPU has added or removed may be missed.
    pub fn committed_bytes(&self) -> u64 {
        self.committed_pages() << M::Arch::PAGE_SHIFT
    }

    /// Bytes that may be committed (`CommitLimit`): by the limit of [`Overcommit::Never`]; where the policy is another
    /// one, what would be its limit if nothing else is said.
    pub fn commit_limit(&self) -> u64 {
        let limit = match self.overcommit() {
            Overcommit::Never(limit) => limit,
            _ => CommitLimit::default(),
        };
        let pages = self.commitment().limit(limit);
        pages.saturating_mul(1 << M::Arch::PAGE_SHIFT)
    }

    /// Whether nothing is mapped or made without a reservation.
    pub(crate) fn reserves_always(&self) -> bool {
        matches!(self.overcommit(), Overcommit::Never(_))
    }

    /// Pages that the CPUs have counted.
    pub(crate) fn committed_pages(&self) -> u64 {
        let sum = self.cpus().fold(0, |sum: u64, cpu| sum.wrapping_add(cpu.committed.load(Relaxed)));
        // What one CPU has removed another may not have added yet, as far as is seen here.
        (sum as i64).max(0) as u64
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Counts `pages` more as committed; or, negative, fewer.
    #[inline(always)]
    pub(crate) fn commit_pages(&self, pages: i64) {
        self.cpu().committed.add_owned(pages as u64);
    }
}
