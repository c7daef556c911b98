//! What the spaces of a group have in common: a limit of resident pages, and how many there are.

use crate::cpu::Cx;
use crate::machine::Machine;
use crate::sync::AtomicU64;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

/// What a group consists of. Fields: all atomics of their own.
#[repr(C)]
pub(crate) struct Members<M> {
    /// Written when the group is retired.
    _retired: [u64; 2],
    /// Handles, and spaces.
    references: AtomicU64<M>,
    limit: AtomicU64<M>,
    /// Resident pages of the members.
    pages: AtomicU64<M>,
}

impl<M: Machine> Members<M> {
    /// A group with one handle and no space.
    pub(crate) fn new(limit: u64) -> Self {
        Members {
            _retired: [0; 2],
            references: AtomicU64::new(1),
            limit: AtomicU64::new(limit),
            pages: AtomicU64::new(0),
        }
    }

    /// The limit, in pages.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Sets the limit, in pages.
    pub(crate) fn set_limit(&self, pages: u64) {
        self.limit.store(pages, Relaxed);
    }

    /// Counts `pages` more resident pages, or, negative, fewer.
    #[cold]
    pub(crate) fn add(&self, pages: i64) {
        self.pages.fetch_add(pages as u64, Relaxed);
    }

    /// Whether the limit is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.resident() >= self.limit()
    }

    /// Resident pages: changes of different CPUs may arrive in another order than they were made in.
    pub(crate) fn resident(&self) -> u64 {
        (self.pages.load(Relaxed) as i64).max(0) as u64
    }

    /// One more handle or space.
    pub(crate) fn get(&self) {
        self.references.fetch_add(1, Relaxed);
    }
}

/// One handle or space less.
pub(crate) fn put<M: Machine>(cx: &Cx<'_, M>, group: NonNull<Members<M>>) {
    // SAFETY: the caller's reference.
    if unsafe { group.as_ref() }.references.fetch_sub(1, AcqRel) == 1 {
        cx.retire(group.cast(), size_of::<Members<M>>());
    }
}
