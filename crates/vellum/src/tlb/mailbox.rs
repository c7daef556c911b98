//! The mailbox through which other CPUs ask this one to flush.
//!
//! One request is kept, and widened by further ones: posting never waits for the target. Tickets tell a sender when
//! its request has been served.
//!
//! A sender holds the mailbox's lock with interrupts on: a device may interrupt him there, and its handler wait for a
//! lock whose holder, with interrupts off, has come to look into this very mailbox. So the owner never waits for the
//! lock. He leaves, since whoever has held it sends an interrupt afterwards, which brings him back (J14).

use crate::cpu::Cx;
use crate::machine::Machine;
use crate::structure::{CpuPart, SharedWord, Structure, holds};
use crate::sync::{AtomicU32, AtomicU64, Rank, RawLock};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The space concerned.
    pub(crate) space: u64,
    /// First address, and number of pages; more than [`super::RANGE_MAX`] pages mean everything.
    pub(crate) start: u64,
    pub(crate) pages: u64,
    /// First and last generation the request covers: it is a step from `first - 1` to `last`.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// A space to leave altogether, because it is about to die; 0 for none.
    pub(crate) detach: u64,
}

/// A CPU's mailbox, on lines of its own.
#[repr(C, align(64))]
pub(crate) struct Mailbox<M> {
    lock: RawLock<M>,
    /// Requests posted; written under the lock.
    posted: AtomicU32<M>,
    /// Requests served; written by the owner.
    served: AtomicU32<M>,
    full: AtomicU32<M>,
    space: AtomicU64<M>,
    start: AtomicU64<M>,
    pages: AtomicU64<M>,
    first: AtomicU64<M>,
    last: AtomicU64<M>,
    detach: AtomicU64<M>,
}

impl<M: Machine> Mailbox<M> {
    pub(crate) const fn new() -> Self {
        Mailbox {
            lock: RawLock::new(),
            posted: AtomicU32::new(0),
            served: AtomicU32::new(0),
            full: AtomicU32::new(0),
            space: AtomicU64::new(0),
            start: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            detach: AtomicU64::new(0),
        }
    }

    /// Whether something waits to be served. Read by the owner.
    #[inline(always)]
    pub(crate) fn has_mail(&self) -> bool {
        self.posted.load(Acquire) != self.served.load(Relaxed)
    }

    /// Posts `request`; the ticket to wait for. `None` if the owner is to leave another space first: two dying spaces
    /// do not fit, and the caller waits and tries again. Either way the caller sends the owner an interrupt afterwards.
    pub(crate) fn post(&self, cx: &Cx<'_, M>, request: Request) -> Option<u32> {
        let _guard = self.lock.lock(cx, Rank::Mailbox);
        let merged = if self.full.load(Relaxed) == 0 { request } else { self.current().merge(request)? };
        self.full.store(1, Relaxed);
        self.space.store(merged.space, Relaxed);
        self.start.store(merged.start, Relaxed);
        self.pages.store(merged.pages, Relaxed);
        self.first.store(merged.first, Relaxed);
        self.last.store(merged.last, Relaxed);
        self.detach.store(merged.detach, Relaxed);
        let ticket = self.posted.load(Relaxed).wrapping_add(1);
        self.posted.store(ticket, SeqCst);
        Some(ticket)
    }

    /// Takes what is there, with the ticket that its service acknowledges. `None` if somebody is posting.
    pub(crate) fn take(&self, cx: &Cx<'_, M>) -> Option<(Option<Request>, u32)> {
        let _guard = self.lock.try_lock(cx, Rank::Mailbox)?;
        let request = (self.full.load(Relaxed) != 0).then(|| self.current());
        self.full.store(0, Relaxed);
        Some((request, self.posted.load(Relaxed)))
    }

    /// Whether somebody is posting, who sends an interrupt afterwards.
    pub(crate) fn is_being_filled(&self) -> bool {
        self.lock.is_held()
    }

    /// Waits a moment for whoever is posting.
    pub(crate) fn await_filled(&self, machine: &M) {
        self.lock.await_release(machine);
    }

    /// Acknowledges everything up to `ticket`.
    pub(crate) fn acknowledge(&self, ticket: u32) {
        self.served.store(ticket, Release);
    }

    /// Whether the request with `ticket` has been served.
    pub(crate) fn is_served(&self, ticket: u32) -> bool {
        (self.served.load(Acquire).wrapping_sub(ticket) as i32) >= 0
    }

    /// The ticket of the last request posted.
    pub(crate) fn last_ticket(&self) -> u32 {
        self.posted.load(Acquire)
    }

    /// Waits a moment for the owner to serve something, unless it has served `ticket` by now.
    pub(crate) fn wait(&self, machine: &M, ticket: u32) {
        let seen = self.served.load(Acquire);
        if (seen.wrapping_sub(ticket) as i32) < 0 {
            machine.wait_change(self.served.as_core(), seen);
        }
    }

    /// Which word of the mailbox of `cpu` lies at `address`.
    pub(super) fn word_at(&self, cpu: usize, address: usize) -> Option<SharedWord> {
        let of_mailbox = SharedWord::Of(Structure::Cpu { cpu, part: CpuPart::Mailbox });
        let words = [
            (holds(&self.posted, address), SharedWord::Posted(cpu)),
            (holds(&self.served, address), SharedWord::Served(cpu)),
            (holds(&self.lock, address), of_mailbox),
        ];
        words.into_iter().find(|(is_there, _)| *is_there).map(|(_, word)| word)
    }

    fn current(&self) -> Request {
        Request {
            space: self.space.load(Relaxed),
            start: self.start.load(Relaxed),
            pages: self.pages.load(Relaxed),
            first: self.first.load(Relaxed),
            last: self.last.load(Relaxed),
            detach: self.detach.load(Relaxed),
        }
    }
}

impl Request {
    /// A request that does the work of both: of one space, everything of it; of two, everything of any. `None` if each
    /// has a space to leave.
    fn merge(self, other: Request) -> Option<Request> {
        if self.detach != 0 && other.detach != 0 && self.detach != other.detach {
            return None;
        }
        let detach = self.detach.max(other.detach);
        // Of two spaces at most one can be loaded here, and which one only the owner knows: space 0 stands for any.
        let space = if self.space == other.space { self.space } else { 0 };
        // Requests may be posted out of order; a gap in between makes the owner flush everything (J7).
        let (first, last) = (self.first.min(other.first), self.last.max(other.last));
        Some(Request { space, start: 0, pages: u64::MAX, first, last, detach })
    }
}
