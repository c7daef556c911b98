//! What the descriptor of a page of anonymous memory or of an object says beside its counts: `words[2]`, changed
//! atomically by whoever has a reference, and the folio lock.
//!
//! | bits | what |
//! |---|---|
//! | 0-7 | [`DIRTY`], [`SHARED_MEMORY`], [`TAGGED`], [`SWAP_CACHE`], [`LAZY_FREE`], [`UP_TO_DATE`], [`WRITING`], [`PARTLY_MAPPED`] |
//! | 8-15 | generation in which it was last seen to be in use; 0: not looked at yet |
//! | 16-63 | its [`SwapSlot`], while it is in the swap cache |
//!
//! The *folio lock* is the outermost lock (`space`'s list says where it stands). It is held while a page is read
//! from swap, written out, unmapped by reverse mapping, or moved; whoever waits for a page waits for it. A file's page
//! that is being read has a mark of its own.

use super::Frame;
use crate::arch::SwapSlot;
use crate::machine::Machine;
use crate::sync::SleepLock;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// The page was stored to since it was read, written back, or written to its slot.
pub(crate) const DIRTY: u64 = 1;
/// The page is of shared memory, not of a file.
pub(crate) const SHARED_MEMORY: u64 = 2;
/// The frame's memory tags mean something.
pub(crate) const TAGGED: u64 = 4;
/// The page is in the swap cache: bits 16 up name its slot, and the slot names the page, which holds a reference.
pub(crate) const SWAP_CACHE: u64 = 8;
/// The page may be dropped unless it is stored to (`MADV_FREE`).
pub(crate) const LAZY_FREE: u64 = 16;
/// A page in the swap cache: its contents are there.
pub(crate) const UP_TO_DATE: u64 = 32;
/// A page of a file: what was stored to it is being written to the backing. Its folio lock is held.
pub(crate) const WRITING: u64 = 64;

/// A folio of several pages: a part of it was unmapped and the rest was not. Whether that is so still its entries say.
pub(crate) const PARTLY_MAPPED: u64 = 128;

const GENERATION_SHIFT: u32 = 8;
const GENERATION: u64 = 0xff << GENERATION_SHIFT;
const SLOT_SHIFT: u32 = 16;

/// The word that says this, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFlags(pub(crate) u64);

impl PageFlags {
    const NAMES: [(u64, &str); 8] = [
        (DIRTY, "dirty"),
        (SHARED_MEMORY, "shared memory"),
        (TAGGED, "tagged"),
        (SWAP_CACHE, "in the swap cache"),
        (LAZY_FREE, "lazily free"),
        (UP_TO_DATE, "up to date"),
        (WRITING, "being written"),
        (PARTLY_MAPPED, "partly unmapped"),
    ];

    /// The flags that are set, by name.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.0 & flag != 0).map(|(_, name)| name)
    }

    /// The generation in which the page was last seen to be in use; 0: not looked at yet.
    pub fn generation(self) -> u8 {
        (self.0 >> GENERATION_SHIFT) as u8
    }

    /// The slot of a page that is in the swap cache.
    pub fn swap_slot(self) -> Option<SwapSlot> {
        (self.0 & SWAP_CACHE != 0).then_some(SwapSlot(self.0 >> SLOT_SHIFT))
    }
}

impl<M: Machine> Frame<M> {
    /// The folio lock of a page.
    #[inline(always)]
    pub(crate) fn folio_lock(&self) -> &SleepLock<M> {
        SleepLock::of(self.lock.word())
    }

    /// Gives the caller a reference to a new page, which nobody knows yet, and its folio lock: that first, for until
    /// there is a reference nobody else can take one, nor the lock.
    pub(crate) fn begin_locked(&self) {
        let is_locked = self.folio_lock().try_acquire();
        debug_assert!(is_locked, "the folio lock of a new page");
        self.set_counts(1, 0);
    }

    /// The flags, generation and slot.
    #[inline(always)]
    pub(crate) fn flags(&self) -> u64 {
        self.words[2].load(Acquire)
    }

    /// As [`Frame::flags`], for a first look.
    #[inline(always)]
    pub(crate) fn flags_relaxed(&self) -> u64 {
        self.words[2].load(Relaxed)
    }

    /// Sets flags; what was there before.
    #[inline(always)]
    pub(crate) fn set_flags(&self, flags: u64) -> u64 {
        self.words[2].fetch_or(flags, AcqRel)
    }

    /// Clears flags; what was there before.
    #[inline(always)]
    pub(crate) fn clear_flags(&self, flags: u64) -> u64 {
        self.words[2].fetch_and(!flags, AcqRel)
    }

    /// The generation in which the page was last seen to be in use.
    pub(crate) fn generation(&self) -> u8 {
        PageFlags(self.flags()).generation()
    }

    /// Notes that the page was in use in `generation`.
    pub(crate) fn set_generation(&self, generation: u8) {
        self.update_flags(|flags| flags & !GENERATION | (generation as u64) << GENERATION_SHIFT);
    }

    /// Sets flags besides, and notes that the page was in use in `generation`.
    pub(crate) fn add_flags(&self, added: u64, generation: u8) {
        self.update_flags(|flags| flags & !GENERATION | added | (generation as u64) << GENERATION_SHIFT);
    }

    /// The slot of a page that is in the swap cache.
    pub(crate) fn swap_slot(&self) -> Option<SwapSlot> {
        PageFlags(self.flags()).swap_slot()
    }

    /// Notes that the page is in the swap cache at `slot`, or no longer. The caller has the folio lock.
    pub(crate) fn set_swap_slot(&self, slot: Option<SwapSlot>) {
        let low = (1 << SLOT_SHIFT) - 1;
        let add = slot.map_or(0, |slot| SWAP_CACHE | slot.0 << SLOT_SHIFT);
        self.update_flags(|flags| flags & low & !SWAP_CACHE | add);
    }

    /// Makes of flags, generation and slot what `change` says, which is asked again if they have changed meanwhile.
    pub(crate) fn update_flags(&self, change: impl Fn(u64) -> u64) {
        let word = &self.words[2];
        let mut seen = word.load(Acquire);
        while let Err(now) = word.compare_exchange(seen, change(seen), AcqRel) {
            seen = now;
        }
    }
}
