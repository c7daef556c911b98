//! The page cache: which frame shows which page of an object.
//!
//! A slot of the radix tree holds a frame number + 1, or the *shadow* of a page that was evicted: when that was, by the
//! count of evictions of its node, so that a page which comes back soon is known to be in use. The cache holds one
//! reference to each of its frames, and each of its frames names the object as long as it is in the cache. Lookups
//! take no lock; what they find may be removed and reused at any moment, so they take a reference unless there is
//! none, and then look at the slot again (F3).
//!
//! Of a folio of several pages each page has its slot, and the cache a reference for each; the head counts them, and
//! names the object. So a page is found as any other is, a part of a folio can leave the cache, and where a folio
//! becomes single pages no slot changes. Who has found a page of one takes his reference to the head, and asks again of
//! which folio the page is (C16F). The methods for folios are in [`super::folio`].
//!
//! Lock `O` (`Rank::Object`) protects what is in the cache; it is never held during I/O.

use super::page::is_up_to_date;
use super::radix::{Reserve, Tree};
use super::release;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Pfn;
use crate::sync::{AtomicU32, AtomicU64, Rank, RawLock};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// The cached pages of one object.
pub(crate) struct Cache<M> {
    pub(super) lock: RawLock<M>,
    /// 1 if there may be, or have been, folios of several pages.
    pub(super) has_folios: AtomicU32<M>,
    /// O: how many there are.
    pub(super) pages: AtomicU64<M>,
    /// Written under O.
    pub(super) tree: Tree<M>,
}

impl<M: Machine> Cache<M> {
    pub(super) const fn new() -> Self {
        let (lock, has_folios) = (RawLock::new(), AtomicU32::new(0));
        Cache { lock, has_folios, pages: AtomicU64::new(0), tree: Tree::new() }
    }

    /// Number of pages cached.
    pub(crate) fn len(&self) -> u64 {
        self.pages.load(Relaxed)
    }

    /// The frame of page `index`, with a reference for the caller, if it is there and its contents are.
    #[inline]
    pub(crate) fn lookup(&self, cx: &Cx<'_, M>, index: u64) -> Option<Pfn> {
        let (pfn, head) = self.find_counted(cx, index)?;
        if is_up_to_date(cx.vm().physical().frame(head)) {
            return Some(pfn);
        }
        release(cx, pfn);
        None
    }

    /// Whether page `index` is there, or being read.
    pub(super) fn has(&self, cx: &Cx<'_, M>, index: u64) -> bool {
        self.tree.slot(cx, index).is_some_and(|slot| frame_of(slot.load(Relaxed)).is_some())
    }

    /// As [`Cache::lookup`], also when the contents are still being read.
    pub(super) fn find(&self, cx: &Cx<'_, M>, index: u64) -> Option<Pfn> {
        self.find_counted(cx, index).map(|(pfn, _)| pfn)
    }

    /// As [`Cache::find`], with the head of the page's folio, which has the reference.
    #[inline(always)]
    fn find_counted(&self, cx: &Cx<'_, M>, index: u64) -> Option<(Pfn, Pfn)> {
        let slot = self.tree.slot(cx, index)?;
        loop {
            let word = slot.load(Acquire);
            let pfn = frame_of(word)?;
            if !cx.vm().physical().frame(pfn).try_get() {
                match get_part(cx, slot, pfn) {
                    Some(head) => return Some((pfn, head)),
                    None => continue,
                }
            }
            if !M::guard(Guard::LookupRecheck) || slot.load(Acquire) == word {
                return Some((pfn, pfn));
            }
            release(cx, pfn);
        }
    }

    /// Makes `pfn` page `index`, unless there is one. The frame that is page `index` afterwards, with a reference for
    /// the caller, and the shadow that was there. `pfn` has two references already, the caller's and the cache's, which
    /// remain the caller's where another frame is returned.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; nothing has changed.
    pub(super) fn insert(&self, cx: &Cx<'_, M>, index: u64, pfn: Pfn) -> Result<(Pfn, Option<u64>), Error> {
        let mut reserve = Reserve::new(cx);
        loop {
            reserve.fill(self.tree.missing(cx, index))?;
            let guard = self.lock.lock(cx, Rank::Object);
            if reserve.len() < self.tree.missing(cx, index) {
                // The tree has grown since; it does so only so often.
                continue;
            }
            let slot = self.tree.make_slot(cx, &guard, index, &mut reserve);
            let word = slot.load(Relaxed);
            if let Some(winner) = frame_of(word) {
                // Nothing is removed while the lock is held; but whoever waits for it, to remove the page, has frozen
                // its counts.
                if cx.vm().physical().frame(winner).try_get() {
                    return Ok((winner, None));
                }
                drop(guard);
                if get_part(cx, slot, winner).is_some() {
                    return Ok((winner, None));
                }
                continue;
            }
            slot.store(pfn.0 + 1, Release);
            self.pages.add_owned(1);
            return Ok((pfn, (word != 0).then_some(word & !SHADOW)));
        }
    }

    /// Removes `pfn`, if it is page `index`: the cache's reference is the caller's then.
    pub(super) fn remove(&self, cx: &Cx<'_, M>, index: u64, pfn: Pfn) -> bool {
        let _guard = self.lock.lock(cx, Rank::Object);
        let Some(slot) = self.tree.slot(cx, index).filter(|slot| slot.load(Relaxed) == pfn.0 + 1) else { return false };
        slot.store(0, Release);
        self.pages.add_owned(1u64.wrapping_neg());
        forget_object(cx, pfn);
        true
    }

    /// Removes `pfn`, which is page `index`, leaving the shadow `stamp`. The caller has frozen its counts and holds the
    /// folio lock.
    pub(crate) fn evict(&self, cx: &Cx<'_, M>, index: u64, pfn: Pfn, stamp: u64) {
        let guard = self.lock.lock(cx, Rank::Object);
        let Some(slot) = self.tree.slot(cx, index).filter(|slot| slot.load(Relaxed) == pfn.0 + 1) else {
            debug_assert!(false, "a page that is evicted is in the cache");
            return;
        };
        // With the removal, so that nobody can have read the page again (I11).
        slot.store(if M::guard(Guard::ShadowUnderLock) { stamp | SHADOW } else { 0 }, Release);
        self.pages.add_owned(1u64.wrapping_neg());
        forget_object(cx, pfn);
        if !M::guard(Guard::ShadowUnderLock) {
            drop(guard);
            slot.store(stamp | SHADOW, Release);
        }
    }

    /// Puts `new` in the place of `old`, page `index`, whose counts the caller has frozen; the cache's reference to
    /// `old` becomes the caller's, and the caller gives one to `new`.
    pub(crate) fn replace(&self, cx: &Cx<'_, M>, index: u64, old: Pfn, new: Pfn) -> bool {
        let _guard = self.lock.lock(cx, Rank::Object);
        let Some(slot) = self.tree.slot(cx, index).filter(|slot| slot.load(Relaxed) == old.0 + 1) else { return false };
        slot.store(new.0 + 1, Release);
        true
    }

    /// The first page at or above `from`, without a reference.
    pub(super) fn next(&self, cx: &Cx<'_, M>, from: u64) -> Option<(u64, Pfn)> {
        let mut from = from;
        loop {
            let (index, word) = self.tree.next(cx, from)?;
            if let Some(pfn) = frame_of(word) {
                return Some((index, pfn));
            }
            from = index.checked_add(1)?;
        }
    }

    /// Frees a few pages of an object that nobody refers to any more; false when there are none left.
    pub(super) fn prune(&self, cx: &Cx<'_, M>) -> bool {
        self.tree.prune(cx, |word| {
            let Some(pfn) = frame_of(word) else { return };
            self.pages.add_owned(1u64.wrapping_neg());
            forget_object(cx, pfn);
            release(cx, pfn);
        })
    }
}

/// In a slot: the rest is a shadow.
const SHADOW: u64 = 1 << 63;

/// The frame that a slot's word names.
#[inline(always)]
pub(super) fn frame_of(word: u64) -> Option<Pfn> {
    if word == 0 || word & SHADOW != 0 { None } else { Some(Pfn(word - 1)) }
}

/// A reference to the head of the folio that `pfn` is a further page of, as `slot` names it still; which that is.
/// `None`: look again, since the page is about to leave the slot, by who has frozen its counts, or has left, or is of
/// another folio.
#[cold]
#[inline(never)]
fn get_part<M: Machine>(cx: &Cx<'_, M>, slot: &AtomicU64<M>, pfn: Pfn) -> Option<Pfn> {
    let physical = cx.vm().physical();
    let is_named = || slot.load(Acquire) == pfn.0 + 1;
    let head = physical.head(pfn);
    let frame = physical.frame(head);
    // What is its own head has no reference.
    if head == pfn || !frame.try_get() {
        if is_named() {
            frame.folio_lock().await_release(cx);
        }
        return None;
    }
    // As it has the reference, the folio stays one, if it was one still.
    let is_its = physical.head(pfn) == head || !M::guard(Guard::CachedPartAskedAgain);
    if is_named() && is_its {
        return Some(head);
    }
    release(cx, head);
    None
}

/// Notes that a page, or folio, is no longer in the cache of an object: whoever holds the lock of a leaf and finds the
/// object named maps the page before the walk that follows its removal comes to that leaf (F11).
pub(super) fn forget_object<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) {
    cx.vm().physical().folio(pfn).words[0].swap(0, SeqCst);
}
