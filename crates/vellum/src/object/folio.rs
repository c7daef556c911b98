//! Huge pages of shared memory in the page cache: folios of several pages.
//!
//! A folio comes as a whole, where no page is yet, and is published as a page is: after a last look at the length and
//! at holes, of all its pages (F13, F17). It goes as a whole where all of it is cut off or in a hole. Of what goes in
//! part single pages are made first, which no entry shows and nobody has a reference to: whoever wants a page meanwhile
//! waits for the end of the cut, or of the hole, which is said to reach over all of the folio (F14H, F17H). If somebody
//! has a reference, its pages leave the cache one by one, and the rest is a folio in part: it is not shown as a huge
//! page any more (F11H), and what has left is free when reclaim has made single pages of it, or when it goes.

use super::cache::{Cache, forget_object};
use super::page::{READING, UP_TO_DATE, WITHDRAWN, is_page_of, is_up_to_date, publish};
use super::radix::Reserve;
use super::{Inner, release};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::folio::{PARTLY_MAPPED, SHARED_MEMORY};
use crate::phys::{Folio, Frame, Kind, ORDER_MAX, Pfn};
use crate::stat::Event;
use crate::sync::{Rank, fence};
use crate::vm::Vm;
use core::ops::Range;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// What an object has where a folio was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// That folio, all of it, and it stays there for now.
    Whole,
    /// Parts of it at most: some of its pages have gone, or are going.
    Parts,
    /// Another: it has been moved, or has gone as a whole.
    Another,
}

/// A bit for each page of a folio.
pub(super) struct Pages([u64; WORDS]);

const WORDS: usize = (1 << ORDER_MAX) / 64;

impl Pages {
    pub(super) const NONE: Pages = Pages([0; WORDS]);

    pub(super) fn add(&mut self, page: u64) {
        self.0[page as usize / 64] |= 1 << (page % 64);
    }

    pub(super) fn has(&self, page: u64) -> bool {
        self.0[page as usize / 64] & 1 << (page % 64) != 0
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

impl<M: Machine> Cache<M> {
    /// Whether any of those pages is there, or being added.
    pub(super) fn has_any(&self, cx: &Cx<'_, M>, pages: Range<u64>) -> bool {
        self.next(cx, pages.start).is_some_and(|(index, _)| index < pages.end)
    }

    /// Whether page `index` is in frame `pfn`.
    fn is_at(&self, cx: &Cx<'_, M>, index: u64, pfn: Pfn) -> bool {
        self.tree.slot(cx, index).is_some_and(|slot| slot.load(Acquire) == pfn.0 + 1)
    }

    /// Makes the pages of a folio those from `first` on, unless one of them is there; whether they are. It has a
    /// reference for each of them, which is the cache's then.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; nothing has changed.
    fn insert_folio(&self, cx: &Cx<'_, M>, first: u64, of: Folio) -> Result<bool, Error> {
        let indices = first..first + of.pages();
        let mut reserve = Reserve::new(cx);
        loop {
            reserve.fill(self.tree.missing_of(cx, &indices))?;
            let guard = self.lock.lock(cx, Rank::Object);
            if reserve.len() < self.tree.missing_of(cx, &indices) {
                // The tree has grown since; it does so only so often.
                continue;
            }
            let is_free = !self.has_any(cx, indices.clone()) || !M::guard(Guard::FolioRoomUnderLock);
            if is_free {
                self.tree.make_slots(cx, &guard, &indices, &mut reserve);
                let frame = |index: u64| of.head.offset(index - first);
                self.tree.each_slot(cx, indices, |index, slot| slot.store(frame(index).0 + 1, Release));
                self.pages.add_owned(of.pages());
            }
            return Ok(is_free);
        }
    }

    /// Removes those of `pages` that are of a folio, whose first page is page `first`: how many, whose references are
    /// the caller's then. If some of its pages stay, it is one in part from then on.
    pub(super) fn remove_folio(&self, cx: &Cx<'_, M>, first: u64, of: Folio, pages: &Range<u64>) -> u64 {
        let _guard = self.lock.lock(cx, Rank::Object);
        let (mut removed, mut left) = (0, 0);
        self.each_of(cx, first, of, |index, slot| match pages.contains(&index) {
            true => {
                slot.store(0, Release);
                removed += 1;
            }
            false => left += 1,
        });
        self.pages.add_owned(u64::wrapping_neg(removed));
        match left {
            0 => forget_object(cx, of.head),
            _ => _ = cx.vm().physical().frame(of.head).set_flags(PARTLY_MAPPED),
        }
        removed
    }

    /// Puts the pages of the folio `new` in the place of those of `old`, whose counts the caller has frozen; its first
    /// page is page `first`.
    fn replace_folio(&self, cx: &Cx<'_, M>, first: u64, old: Folio, new: Pfn) {
        let _guard = self.lock.lock(cx, Rank::Object);
        self.each_of(cx, first, old, |index, slot| slot.store(new.offset(index - first).0 + 1, Release));
    }

    /// Which pages of a folio are in the cache, whose first one is page `first`.
    fn pages_of(&self, cx: &Cx<'_, M>, first: u64, of: Folio) -> Pages {
        let mut pages = Pages::NONE;
        self.each_of(cx, first, of, |index, _| pages.add(index - first));
        pages
    }

    /// Calls `each` with the slots that name pages of a folio, whose first one is page `first`.
    fn each_of(&self, cx: &Cx<'_, M>, first: u64, of: Folio, mut each: impl FnMut(u64, &crate::sync::AtomicU64<M>)) {
        self.tree.each_slot(cx, first..first + of.pages(), |index, slot| {
            if slot.load(Relaxed) == of.head.offset(index - first).0 + 1 {
                each(index, slot);
            }
        });
    }
}

impl<M: Machine> Inner<M> {
    /// Whether any of those pages is cached, or being added to the cache.
    pub(crate) fn has_any(&self, cx: &Cx<'_, M>, pages: Range<u64>) -> bool {
        self.cache.has_any(cx, pages)
    }

    /// Makes a folio, cleared and nobody else's, the pages from `first` on, if there are none of them; whether it is.
    /// The caller's reference stays his. He has one to the object.
    pub(crate) fn add_folio(&self, cx: &Cx<'_, M>, first: u64, of: Folio) -> bool {
        let frame = cx.vm().physical().frame(of.head);
        let owner = core::ptr::from_ref(self).expose_provenance() as u64;
        frame.words[0].store(owner, Relaxed);
        frame.words[1].store(first, Relaxed);
        frame.words[2].store(SHARED_MEMORY, Relaxed);
        let state = if M::guard(Guard::FolioLastLook) { READING } else { UP_TO_DATE };
        frame.halves[0].store(state, Relaxed);
        frame.set_kind(Kind::File, of.order);
        frame.add_references(of.pages());
        self.cache.has_folios.store(1, SeqCst);
        if self.cache.insert_folio(cx, first, of) != Ok(true) {
            frame.words[0].store(0, SeqCst);
            frame.drop_references(of.pages());
            return false;
        }
        // Either whoever truncates, or makes a hole, finds the folio, or what he has said is seen here.
        fence::<M>(SeqCst);
        if !self.is_within(first, of.pages()) && M::guard(Guard::FolioLastLook) {
            let removed = self.cache.remove_folio(cx, first, of, &(first..first + of.pages()));
            publish(cx.vm(), frame, WITHDRAWN);
            frame.drop_references(removed);
            return false;
        }
        publish(cx.vm(), frame, UP_TO_DATE);
        cx.count(Event::SharedHugeAlloc, 1);
        true
    }

    /// Whether `pages` pages from `first` on lie before the end, and none of them is being cut off or out.
    pub(crate) fn is_within(&self, first: u64, pages: u64) -> bool {
        let is_long = first.checked_add(pages).is_some_and(|end| end <= self.pages());
        is_long && self.uncut(first, pages) == pages && self.hole_within(first, pages).is_empty()
    }

    /// What has become of the folio in `frame`: for who may be told by [`Inner::is_cut`], and is about to show it as a
    /// huge page, from page `first` of the object on.
    pub(crate) fn shows_whole(&self, frame: &Frame<M>, first: u64, pages: u64) -> Shows {
        // This first: who takes pages away has done so before he says that they are not going any more.
        let is_within = self.is_within(first, pages) || !M::guard(Guard::HugeGoingAsked);
        if !is_within || frame.flags() & PARTLY_MAPPED != 0 {
            return Shows::Parts;
        }
        if is_page_of(frame, NonNull::from(self)) { Shows::Whole } else { Shows::Another }
    }

    /// Whether page `pfn` of a folio of several is page `index` of the object still; as [`is_page_of`].
    #[cold]
    pub(crate) fn has_part(&self, cx: &Cx<'_, M>, index: u64, pfn: Pfn) -> bool {
        let is_of = is_page_of(cx.vm().physical().folio(pfn), NonNull::from(self));
        is_of && (self.cache.is_at(cx, index, pfn) || !M::guard(Guard::PartSoughtUnderLock))
    }

    /// Puts the folio `to` in the place of `from`, of which nobody has a reference but the caller and the cache, and
    /// that no entry shows; whether it was so. Whoever looks a page up finds it in the new one from then on, and waits
    /// for the contents. The old one is the caller's alone then, without a reference; its folio lock, which he has, is
    /// given up.
    fn move_folio(&self, cx: &Cx<'_, M>, from: Folio, to: Pfn) -> bool {
        let (old, new) = (cx.vm().physical().frame(from.head), cx.vm().physical().frame(to));
        let first = old.words[1].load(Relaxed);
        let cached = self.cache.pages_of(cx, first, from).count();
        if !old.freeze(1 + cached) {
            return false;
        }
        new.words[0].store(old.words[0].load(Relaxed), Relaxed);
        new.add_references(u64::from(cached));
        self.cache.replace_folio(cx, first, from, to);
        old.words[0].store(0, SeqCst);
        old.folio_lock().release(cx.vm());
        true
    }

    /// Whether nobody has a reference to a folio but the caller, who has its folio lock, the cache, and entries, at
    /// this moment.
    fn is_only_cached(&self, cx: &Cx<'_, M>, of: Folio) -> bool {
        let frame = cx.vm().physical().frame(of.head);
        let cached = self.cache.pages_of(cx, frame.words[1].load(Relaxed), of).count();
        frame.other_references() == 1 + cached
    }

    /// Makes single pages of a folio that no entry shows, if nobody has a reference but the caller and the cache; how
    /// many have left the cache before, and are free now. The caller has its folio lock; his reference is the first
    /// page's afterwards.
    fn split_folio(&self, cx: &Cx<'_, M>, of: Folio) -> Option<u64> {
        let first = cx.vm().physical().frame(of.head).words[1].load(Relaxed);
        let cached = self.cache.pages_of(cx, first, of);
        cx.deal_out_cached(of, cached.count(), |page| cached.has(page))
    }
}

/// Calls `act` with the object that a folio in the cache is of, whose lock the caller has, if its contents are there
/// and the object is not at its end.
fn with_object<M: Machine, R>(cx: &Cx<'_, M>, frame: &Frame<M>, act: impl FnOnce(&Inner<M>) -> R) -> Option<R> {
    let named = NonNull::new(with_exposed_provenance_mut::<Inner<M>>(frame.words[0].load(Relaxed) as usize));
    let object = named.filter(|_| is_up_to_date(frame))?;
    // SAFETY: the folio names the object in this section; it may be dying.
    let inner = unsafe { object.as_ref() };
    if !inner.try_get() {
        return None;
    }
    let result = act(inner);
    // If that is the last one, it goes without a look at locks of its pages: the caller has one.
    cx.put_object(object);
    Some(result)
}

/// [`Inner::move_folio`], of the object that a folio is of; whether it was moved.
pub(crate) fn move_folio<M: Machine>(cx: &Cx<'_, M>, from: Folio, to: Pfn) -> bool {
    let frame = cx.vm().physical().frame(from.head);
    with_object(cx, frame, |inner| inner.move_folio(cx, from, to)).unwrap_or(false)
}

/// [`Inner::split_folio`], of the object that a folio is of.
pub(crate) fn split_folio<M: Machine>(cx: &Cx<'_, M>, of: Folio) -> Option<u64> {
    let frame = cx.vm().physical().frame(of.head);
    with_object(cx, frame, |inner| inner.split_folio(cx, of)).flatten()
}

/// [`Inner::is_only_cached`], of the object that a folio is of.
pub(crate) fn is_only_cached<M: Machine>(cx: &Cx<'_, M>, of: Folio) -> bool {
    let frame = cx.vm().physical().frame(of.head);
    with_object(cx, frame, |inner| inner.is_only_cached(cx, of)).unwrap_or(false)
}

/// The pages of the folio that page `index` is of, if it is cached; else that page.
fn pages_around<M: Machine>(cx: &Cx<'_, M>, inner: &Inner<M>, index: u64) -> Range<u64> {
    let Some(pfn) = inner.cache.find(cx, index) else { return index..index.saturating_add(1) };
    let of = cx.vm().physical().whole(cx.vm().physical().head(pfn));
    let first = index - (pfn.0 - of.head.0);
    release(cx, pfn);
    first..first + of.pages()
}

/// `pages`, of which there is one at least, and what else there is of the folios across their edges.
pub(super) fn with_whole_folios<M: Machine>(cx: &Cx<'_, M>, inner: &Inner<M>, pages: &Range<u64>) -> Range<u64> {
    if !may_have_folios(inner) {
        return pages.clone();
    }
    pages_around(cx, inner, pages.start).start..pages_around(cx, inner, pages.end - 1).end
}

/// The first page of the folio across page `at`; that, if there is none.
pub(super) fn first_across<M: Machine>(cx: &Cx<'_, M>, inner: &Inner<M>, at: u64) -> u64 {
    if may_have_folios(inner) { pages_around(cx, inner, at).start } else { at }
}

/// Whether there may be folios of several pages, by who has said what becomes of some pages: either who adds a folio
/// sees that when he looks again, or the folio is found now.
fn may_have_folios<M: Machine>(inner: &Inner<M>) -> bool {
    fence::<M>(SeqCst);
    inner.cache.has_folios.load(SeqCst) != 0
}

/// Makes single pages of the folio across page `at`, if there is one and that is possible. No entry shows it, and none
/// comes. Without a [`Cx`].
pub(super) fn split_across<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, at: u64) {
    if !may_have_folios(inner) {
        return;
    }
    let Some(pfn) = inner.cache.find(&Cx::enter(vm), at) else { return };
    let of = vm.physical().whole(vm.physical().head(pfn));
    if of.head == pfn {
        // It begins there.
        return release(&Cx::enter(vm), pfn);
    }
    let lock = vm.physical().frame(of.head).folio_lock();
    lock.acquire(vm);
    let is_split = inner.split_folio(&Cx::enter(vm), of).is_some();
    lock.release(vm);
    let cx = Cx::enter(vm);
    cx.count(if is_split { Event::SplitFolio } else { Event::SplitFolioFail }, 1);
    release(&cx, of.head);
}

/// Takes those of `pages` out of the cache that are of the folio of `pfn`, of several, to which the caller has a
/// reference, which goes. Without a [`Cx`].
pub(super) fn drop_folio<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, pfn: Pfn, pages: &Range<u64>) {
    let of = vm.physical().whole(vm.physical().head(pfn));
    let frame = vm.physical().frame(of.head);
    let first = frame.words[1].load(Relaxed);
    // Who moves it has its lock.
    frame.folio_lock().acquire(vm);
    let removed = inner.cache.remove_folio(&Cx::enter(vm), first, of, pages);
    frame.folio_lock().release(vm);
    let cx = Cx::enter(vm);
    if frame.drop_references(removed + 1) {
        cx.free_frame(of.head);
    }
}
