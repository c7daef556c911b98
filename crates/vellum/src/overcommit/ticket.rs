//! Who may commit memory under [`Overcommit::Never`].
//!
//! A call that commits pages adds them to one sum of all such calls, its *ticket*; then it adds up what the CPUs have
//! counted. If both together are within the limit it goes on, and takes its ticket back when its slots are counted: if
//! not it takes it back at once.
//!
//! *Why of two calls that do not both fit one is refused.* Tickets are added to one word, so one of the two is later. It
//! finds the other's ticket there; or that has been taken back, and then, as taking it back is a release and adding is
//! an acquire, its pages are found among what the CPUs have counted. The earlier one does not look at tickets that come
//! after its own, or both might be refused.
//!
//! *Why it does no harm that the CPUs' parts are read one after the other.* Pages may be missed that one CPU has added
//! when another CPU's part is read after it has removed them. If their ticket is the earlier one, it is found, or they
//! are; if it is the later one, it was given with this one's pages in the sum, which so fit into the limit beside them.
//!
//! *Moves* remove pages at one place and count them at another, and nobody has to ask for that. But a call which adds up
//! meanwhile might miss them. So a move has a ticket for what it moves, that is never refused, and counts itself; a
//! call in the midst of which a move began looks again.
//!
//! What others free, or give back because they were refused, may be seen late: a call may be refused that would fit a
//! moment later. That is no more than in Linux.

use super::{CommitLimit, Overcommit};
use crate::arch::Arch;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::sync::{AtomicU64, fence};
use crate::vm::Vm;
use core::sync::atomic::Ordering::{Acquire, SeqCst};

/// The tickets of an instance. Not written unless the policy is [`Overcommit::Never`].
#[repr(align(64))]
pub(crate) struct Tickets<M> {
    /// Pages of all tickets.
    pages: AtomicU64<M>,
    /// How many moves have got one.
    moves: AtomicU64<M>,
}

impl<M: Machine> Tickets<M> {
    pub(super) const fn new() -> Self {
        Tickets { pages: AtomicU64::new(0), moves: AtomicU64::new(0) }
    }

    /// Pages of all tickets: none while nobody commits anything.
    pub(crate) fn pages(&self) -> u64 {
        self.pages.load(SeqCst)
    }
}

/// The right to commit pages, until it is dropped: then they must be counted, or have been given up.
#[must_use = "the pages are nobody's as soon as this is dropped"]
pub(crate) struct Ticket<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    pages: u64,
}

impl<M: Machine> Ticket<'_, M> {
    /// Takes over what `other` stands for.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.pages += core::mem::take(&mut other.pages);
    }
}

impl<M: Machine> Drop for Ticket<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.pages != 0 {
            self.vm.commitment().tickets.pages.fetch_sub(self.pages, SeqCst);
        }
    }
}

impl<M: Machine> Vm<M> {
    /// Whether so many pages at once may be committed without a further question.
    #[inline(always)]
    pub(crate) fn commits_unasked(&self, pages: u64) -> bool {
        pages <= self.commitment().unasked.load(core::sync::atomic::Ordering::Relaxed)
    }

    /// Lets the caller commit `pages` pages; `freed` says how many committed ones go in the same call, before or as
    /// these come. To be asked before anything is changed, and the result kept until the pages are counted. Neither
    /// sleeps nor allocates.
    ///
    /// # Errors
    /// [`Error::CommitLimit`]; no reclaim helps against that.
    #[inline]
    pub(crate) fn may_commit(&self, pages: u64, freed: impl FnOnce() -> u64) -> Result<Ticket<'_, M>, Error> {
        if self.commits_unasked(pages) {
            return Ok(self.no_ticket());
        }
        self.may_commit_asked(pages, freed())
    }

    /// A ticket for nothing.
    #[inline(always)]
    pub(crate) fn no_ticket(&self) -> Ticket<'_, M> {
        Ticket { vm: self, pages: 0 }
    }

    #[cold]
    #[inline(never)]
    fn may_commit_asked(&self, pages: u64, freed: u64) -> Result<Ticket<'_, M>, Error> {
        let refused = Error::CommitLimit { bytes: pages.saturating_mul(1 << M::Arch::PAGE_SHIFT) };
        match self.overcommit() {
            Overcommit::Always => Ok(self.no_ticket()),
            Overcommit::Heuristic if pages.saturating_sub(freed) <= self.commitment().at_once() => Ok(self.no_ticket()),
            Overcommit::Heuristic => Err(refused),
            Overcommit::Never(limit) => self.ticket_within(pages, freed, limit).ok_or(refused),
        }
    }

    /// A ticket for `pages` pages, if there is room for them.
    fn ticket_within(&self, pages: u64, freed: u64, limit: CommitLimit) -> Option<Ticket<'_, M>> {
        let limit = self.commitment().limit(limit);
        // More than that can never be, and could not be added up.
        if pages.saturating_sub(freed) > limit {
            return None;
        }
        let tickets = &self.commitment().tickets;
        loop {
            let moves = tickets.moves.load(SeqCst);
            let too_early = if M::guard(Guard::TicketFirst) { None } else { Some(self.committed_pages()) };
            let promised = tickets.pages.fetch_add(pages, SeqCst).wrapping_add(pages);
            let ticket = Ticket { vm: self, pages };
            let counted = too_early.unwrap_or_else(|| self.committed_pages());
            // What a move has removed and this has seen: then its number is seen too.
            fence::<M>(Acquire);
            if tickets.moves.load(SeqCst) != moves && M::guard(Guard::MovesAwaited) {
                continue;
            }
            let is_room = counted.saturating_add(promised).saturating_sub(freed) <= limit;
            return is_room.then_some(ticket);
        }
    }

    /// A ticket for a move of `pages` committed pages, which are counted already, and may for a moment not be.
    #[inline]
    pub(crate) fn may_move(&self, pages: u64) -> Ticket<'_, M> {
        if pages == 0 || !self.reserves_always() { self.no_ticket() } else { self.ticket_to_move(pages) }
    }

    #[cold]
    fn ticket_to_move(&self, pages: u64) -> Ticket<'_, M> {
        let tickets = &self.commitment().tickets;
        tickets.pages.fetch_add(pages, SeqCst);
        tickets.moves.fetch_add(1, SeqCst);
        fence::<M>(SeqCst);
        Ticket { vm: self, pages }
    }
}
