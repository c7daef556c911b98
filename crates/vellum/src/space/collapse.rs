//! Small pages become a huge one: the entry of all of it takes the place of a table of its parts.
//!
//! Who collapses has claimed the place, in the table above, and brings a folio.
//!
//! 1. Under the locks of both tables the leaf is taken out of the tree as it is, with its entries, and is stale. In its place
//!    stands that a page is being moved from the folio, whose lock is held: who faults there sleeps for that lock, and nobody
//!    makes a table. The class of all of the leaf's slots goes to the slot above.
//! 2. One flush, of translations and of what processors have cached of the way to the leaf. From then on nobody stores to the
//!    pages by an entry, and nobody finds the leaf: it belongs to who collapses (C10). To all others its pages are mapped, at a
//!    place that nobody finds, like those of other leaves that were taken out ([`super::detach`]).
//! 3. With pre-emption on, the references of each page are counted, and then it is copied; what was empty is cleared. Who takes a
//!    reference by the entry looks at it again afterwards, on a way from the root; so either he is seen here, and the leaf goes
//!    back where it was, or he sees that the entry is gone (C6).
//! 4. The folio is shown, in one store. Between the two sizes there was an entry that shows nothing, and a flush, as some
//!    architectures demand and none forbids. No other flush follows, whatever faults there have been.
//! 5. The leaf is emptied and its pages are dropped, as of one that was unmapped, and it is freed when no walker without a lock
//!    can be inside: no interrupt is sent to drive them out (C7, B14).
//!
//! A page that others map, after a fork, is copied as it is, and they keep it: nobody stores to it while it has several
//! mappings, of which the one in the leaf is one. What is the leaf's alone, nobody else has.
//!
//! Where the entries show all pages of one folio in their places, as they do when a huge page was cut for something
//! that is over, there is nothing to copy: the entry comes back under the locks ([`rejoin`]).

use super::apply::readable;
use super::detach::Detached;
use super::fold::may_unlink;
use super::slot::Slot;
use super::table::{Locked, Table};
use super::{Attributes, ClassFlags, ClassId, Inner, NO_HUGE_PAGES, RssKind, Runs, Spares};
use crate::arch::{Absent, Arch, PageBits, Prot, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{Kind, Pfn, folio, folio_offset, release};
use crate::stat::Event;
use crate::sync::fence;
use crate::tlb::Flush;
use crate::vm::Vm;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// The level of the tables in which huge pages come.
pub(crate) const LEVEL: usize = 1;
/// What processors note in an entry.
const NOTED: PageBits = PageBits::ACCESSED.with(PageBits::DIRTY);

/// Of so many pages the references of one are asked at the first look, so that what is held for long is mostly noticed
/// before anything is done; all of them are before they are copied.
const SAMPLED: usize = 8;

/// What a leaf shows, as far as that decides whether it is to be collapsed: numbers of its slots.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Census {
    /// They show nothing, or the page of zeroes.
    pub(crate) none: u64,
    /// They show a page that is not theirs alone.
    pub(crate) shared: u64,
    /// Their page is in swap.
    pub(crate) swapped: u64,
    /// Their page is lost or being moved, or somebody has a reference to it, as far as that was asked.
    pub(crate) busy: u64,
    /// They show, from the first one on, the pages that follow its page.
    pub(crate) in_place: u64,
}

/// What there is where a huge page could be.
pub(crate) enum Seen {
    /// One.
    Huge,
    /// No page, and no table of any.
    Nothing,
    /// Several mappings, or not all is mapped.
    Mixed,
    /// Pages of a mapping of that class, or parts of huge ones.
    Small(ClassId, Census),
}

/// Why a place was not collapsed; all is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is not as it was when it was looked at.
    Changed,
    /// Somebody has a reference to one of its pages.
    Busy,
    /// There is no memory for what the table above would have to say.
    OutOfMemory,
}

/// Whether a mapping may have huge pages.
pub(crate) type Fits<'f, M> = dyn Fn(&Attributes<M>) -> bool + 'f;

impl<M: Machine> Inner<M> {
    /// What there is in the place of a huge page that begins at `start`, without a lock.
    pub(crate) fn look_at_place(&self, cx: &Cx<'_, M>, start: u64) -> Seen {
        let parent = self.table_at(cx, start, LEVEL);
        if parent.level != LEVEL {
            return Seen::Nothing;
        }
        let index = parent.index(start);
        let Some(leaf) = parent.child(cx, index) else {
            return if parent.page(index).is_empty() { Seen::Nothing } else { Seen::Huge };
        };
        match Runs::uniform(leaf.frame) {
            Some(class) if class != ClassId::NONE => Seen::Small(class, Census::of(cx, &leaf)),
            _ => Seen::Mixed,
        }
    }
}

impl Census {
    fn of<M: Machine>(cx: &Cx<'_, M>, leaf: &Table<'_, M>) -> Self {
        let mut census = Census::default();
        let first = leaf.entry(0);
        let is_cut = is_whole_folio(cx, first, leaf.len());
        let mut look = |index: usize, slot: &Slot<M>| {
            let word = slot.load(Acquire);
            let is_sampled = index.is_multiple_of(SAMPLED);
            let is_plain = is_exclusive(word) && !is_cut && !(is_sampled && lone(cx.vm(), word).is_none());
            if !is_plain {
                census.add(cx.vm(), word, first, index as u64);
            }
        };
        let (groups, rest) = leaf.slots(0, leaf.len()).as_chunks::<SAMPLED>();
        for (number, group) in groups.iter().enumerate() {
            (0..).zip(group).for_each(|(place, slot)| look(number * SAMPLED + place, slot));
        }
        (leaf.len() - rest.len()..).zip(rest).for_each(|(index, slot)| look(index, slot));
        census
    }

    /// Adds an entry that shows something else than a page of this place alone.
    #[inline(never)]
    fn add<M: Machine>(&mut self, vm: &Vm<M>, word: Word<M::Arch>, first: Word<M::Arch>, index: u64) {
        if word.is_empty() {
            self.none += 1;
        } else if !word.is_page() {
            let is_swapped = matches!(word.absent(), Some(Absent::Swap { .. }));
            *(if is_swapped { &mut self.swapped } else { &mut self.busy }) += 1;
        } else if word.bits().has(PageBits::SPECIAL) {
            self.none += 1;
        } else {
            self.shared += u64::from(!word.bits().has(PageBits::EXCLUSIVE));
            // Only if those before it are, too.
            self.in_place += u64::from(self.in_place == index && is_further(word, first, index));
            self.busy += u64::from(!is_unheld(vm, word));
        }
    }
}

/// Whether `word`, a page, is as `first` would be so many pages further on, but for what processors note.
fn is_further<A: Arch>(word: Word<A>, first: Word<A>, pages: u64) -> bool {
    first.is_page()
        && word.pfn() == first.pfn().offset(pages)
        && word.bits().without(NOTED) == first.bits().without(NOTED)
}

/// Whether an entry shows a page that belongs to it alone, which the page of zeroes does not.
#[inline(always)]
fn is_exclusive<A: Arch>(word: Word<A>) -> bool {
    word.usual_page().is_some() && word.bits().has(PageBits::EXCLUSIVE)
}

/// The page that an entry shows, if it is by itself, anonymous, and has this mapping and no other reference.
#[inline(always)]
fn lone<M: Machine>(vm: &Vm<M>, word: Word<M::Arch>) -> Option<Pfn> {
    word.usual_page().filter(|&pfn| vm.physical().frame(pfn).is_lone())
}

/// Whether the page that an entry shows is anonymous, and has no references but those of mappings and of the swap
/// cache.
fn is_unheld<M: Machine>(vm: &Vm<M>, word: Word<M::Arch>) -> bool {
    let frame = vm.physical().folio(word.pfn());
    let of_cache = u32::from(frame.flags_relaxed() & folio::SWAP_CACHE != 0);
    frame.is_kind(Kind::Anonymous) && frame.other_references() == of_cache
}

/// Whether nobody has a reference to a page of the leaf.
fn are_unheld<M: Machine>(cx: &Cx<'_, M>, leaf: &Table<'_, M>) -> bool {
    (0..leaf.len()).all(|index| !has_page(leaf.entry(index)) || is_unheld(cx.vm(), leaf.entry(index)))
}

/// Whether an entry shows a page, and not the one of zeroes.
fn has_page<A: Arch>(word: Word<A>) -> bool {
    word.is_page() && !word.bits().has(PageBits::SPECIAL)
}

/// A leaf that was taken out of its place, to which a folio is on its way.
pub(crate) struct Collapsing<'s, M: Machine> {
    vm: &'s Vm<M>,
    space: &'s Inner<M>,
    /// First address of the place.
    start: u64,
    attributes: Attributes<M>,
    /// By which reverse mapping finds the folio.
    offset: u64,
    head: Pfn,
    leaf: Pfn,
    /// The references were counted too early, and are not again.
    is_counted: bool,
}

impl<'s, M: Machine> Collapsing<'s, M> {
    /// Takes the leaf of the place that begins at `start`, which the caller has claimed, out of the tree for the folio
    /// `head`, of whose lock and reference he is rid when it is shown. Takes the locks of both tables, one after the
    /// other; flushes.
    ///
    /// # Errors
    /// Why not; all is as before then, and the folio the caller's.
    pub(crate) fn begin(
        vm: &'s Vm<M>,
        space: &'s Inner<M>,
        start: u64,
        head: Pfn,
        fits: &Fits<'_, M>,
    ) -> Result<Self, Kept> {
        let cx = Cx::enter(vm);
        let parent = space.table_at(&cx, start, LEVEL);
        if parent.level != LEVEL {
            return Err(Kept::Changed);
        }
        let mut spares = spare_for(&cx, &parent, start)?;
        let taken = take_out(&cx, space, &parent, start, head, fits, &mut spares);
        spares.free(&cx);
        let (leaf, (attributes, offset), were_unheld) = taken?;
        let is_counted = were_unheld.is_some();
        let this = Collapsing { vm, space, start, attributes, offset, head, leaf: leaf.pfn, is_counted };
        if M::guard(Guard::CollapseFlushedFirst) {
            this.flush(&cx);
        }
        if were_unheld == Some(false) {
            this.put_back(&cx);
            return Err(Kept::Busy);
        }
        Ok(this)
    }

    /// Fills the folio with what the leaf shows, with pre-emption on; what was noted in its entries.
    ///
    /// # Errors
    /// Somebody has a reference to one of the pages; all is as before then, and the folio the caller's.
    pub(crate) fn fill(&self) -> Result<PageBits, Kept> {
        // Against those who take a reference first and look at the entry again.
        fence::<M>(SeqCst);
        let leaf = Table::owned(self.vm, self.leaf, 0);
        let (mut noted, mut index) = (PageBits::NONE, 0);
        let mut is_copied = true;
        // All that can be noted is, of most places, with the first page.
        while is_copied && index < leaf.len() && !noted.has(NOTED) {
            let word = leaf.slot(index).load(Relaxed);
            is_copied = self.copy(word, index);
            noted = if word.is_page() { noted | word.bits() } else { noted };
            index += 1;
        }
        while is_copied && index < leaf.len() {
            is_copied = self.copy(leaf.slot(index).load(Relaxed), index);
            index += 1;
        }
        if !is_copied {
            self.put_back(&Cx::enter(self.vm));
            return Err(Kept::Busy);
        }
        Ok(noted)
    }

    /// Copies the page that an entry shows to its place in the folio, or clears that; not if somebody has a reference
    /// to the page.
    #[inline(always)]
    fn copy(&self, word: Word<M::Arch>, index: usize) -> bool {
        let machine = self.vm.machine();
        let to = machine.frame(self.head.offset(index as u64));
        // SAFETY: both frames are a page long. The new one is ours alone; the old one has the reference of the entry, which is
        // ours.
        let copy = |from: Pfn| unsafe { machine.copy_page(machine.frame(from), to) };
        // In this order: most are.
        if let Some(lone) = lone(self.vm, word) {
            copy(lone);
            return true;
        }
        if !has_page(word) {
            // SAFETY: the frame is a page long, and ours alone.
            unsafe { machine.clear_page(to) };
            return true;
        }
        if !self.is_counted && M::guard(Guard::CollapseCounted) && !is_unheld(self.vm, word) {
            return false;
        }
        copy(word.pfn());
        true
    }

    /// Shows the folio, in whose pages `noted` was noted, to everybody who waits for it, and drops the old pages.
    /// Enters and leaves the core.
    pub(crate) fn finish(self, noted: PageBits) {
        {
            let cx = Cx::enter(self.vm);
            if !M::guard(Guard::CollapseFlushedFirst) {
                self.flush(&cx);
            }
            self.show(&cx, noted);
        }
        let mut detached = Detached::default();
        detached.add(&Table::owned(self.vm, self.leaf, 0));
        detached.free(self.vm, self.space);
    }

    fn show(&self, cx: &Cx<'_, M>, noted: PageBits) {
        let pages = 1 << (M::Arch::shift(LEVEL) - M::Arch::PAGE_SHIFT);
        let frame = cx.vm().physical().frame(self.head);
        frame.be_anonymous(frame.order(), self.space.owner(), self.offset);
        // Its contents are nowhere else, whatever was noted in the entries.
        frame.words[2].store(folio::DIRTY, Relaxed);
        frame.add_mapping();
        let bits = PageBits::of(readable::<M::Arch>(self.attributes.prot)) | PageBits::EXCLUSIVE;
        let word = Word::of_page(self.head, bits | noted.without(noted.without(NOTED)));
        let parent = self.space.table_at(cx, self.start, LEVEL);
        if let Some(upper) = parent.lock(cx, self.space, self.start) {
            upper.exchange(parent.index(self.start), word.at_level(LEVEL));
        }
        self.space.add_rss(cx, RssKind::Anonymous, pages);
        cx.count(Event::TableFree, 1);
        frame.folio_lock().release(cx.vm());
        release(cx, self.head);
    }

    /// Hangs the leaf where it was.
    #[cold]
    fn put_back(&self, cx: &Cx<'_, M>) {
        let parent = self.space.table_at(cx, self.start, LEVEL);
        let leaf = Table::owned(self.vm, self.leaf, 0);
        let Some(upper) = parent.lock(cx, self.space, self.start) else { return };
        let lower = leaf.revive(cx, self.space, self.start);
        if let Some(class) = lower.uniform_class() {
            cx.retain_class(class, leaf.len() as u64 - 1);
        }
        upper.exchange(parent.index(self.start), Word::of_table(self.leaf));
    }

    fn flush(&self, cx: &Cx<'_, M>) {
        flush(cx, self.space, self.start);
    }
}

/// Flushes the translations of a place, and the way to the leaf that was there.
fn flush<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, start: u64) {
    let pages = 1 << (M::Arch::shift(LEVEL) - M::Arch::PAGE_SHIFT);
    cx.flush(space.id(), space.tlb(), Flush { start, pages, tables_freed: M::guard(Guard::TablesFlushed) });
    cx.count(Event::FlushBatch, 1);
}

/// A side array for the table above a leaf, if that would need one to say what the leaf says.
fn spare_for<M: Machine>(cx: &Cx<'_, M>, parent: &Table<'_, M>, start: u64) -> Result<Spares, Kept> {
    let (mut spares, index) = (Spares::default(), parent.index(start));
    let leaf = parent.child(cx, index);
    if leaf.is_some_and(|leaf| Runs::uniform(leaf.frame) == Some(parent.class(cx, index))) {
        // As where it was cut.
        return Ok(spares);
    }
    if Runs::needs_spare(cx, parent.frame, parent.len(), index, index) {
        Runs::allocate_spare(cx, parent, &mut spares).map_err(|_| Kept::OutOfMemory)?;
    }
    Ok(spares)
}

/// The table above a leaf and the leaf, both locked, and the class of all of the leaf's slots, with what it says, and
/// by which offset a folio is found there.
type Both<'a, M> = (Locked<'a, M>, Locked<'a, M>, ClassId, (Attributes<M>, u64));

/// The locks of the leaf at `start` and of the table above, and the class of all of the leaf's slots, if it has one
/// that fits.
fn lock_both<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &Inner<M>,
    parent: &Table<'a, M>,
    start: u64,
    fits: &Fits<'_, M>,
    spares: &Spares,
) -> Result<Both<'a, M>, Kept> {
    let index = parent.index(start);
    let upper = parent.lock(cx, space, start).ok_or(Kept::Changed)?;
    let leaf = parent.child(cx, index).ok_or(Kept::Changed)?;
    let lower = leaf.lock(cx, space, start).ok_or(Kept::Changed)?;
    let class = lower.uniform_class().filter(|&class| class != ClassId::NONE).ok_or(Kept::Changed)?;
    let attributes = cx.attributes(class);
    let has_room = may_unlink(cx, parent, index, &leaf, class)
        || !spares.is_empty() && parent.entry(index).table() == Some(leaf.pfn);
    if !fits(&attributes) || !has_room || space.fork_pending(leaf.fork_stamp()) {
        return Err(Kept::Changed);
    }
    let page = start >> M::Arch::PAGE_SHIFT;
    let offset = folio_offset(page, attributes.delta, leaf.len() as u64).ok_or(Kept::Changed)?;
    Ok((upper, lower, class, (attributes, offset)))
}

/// What was taken out: the leaf, what it is of and by which offset a folio is found there, and whether nobody had
/// references, where that is asked too early.
type TakenOut<'a, M> = (Table<'a, M>, (Attributes<M>, u64), Option<bool>);

/// The first step; see the module.
fn take_out<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &Inner<M>,
    parent: &Table<'a, M>,
    start: u64,
    head: Pfn,
    fits: &Fits<'_, M>,
    spares: &mut Spares,
) -> Result<TakenOut<'a, M>, Kept> {
    let (upper, lower, class, named) = lock_both(cx, space, parent, start, fits, spares)?;
    let leaf = lower.table;
    // Under the lock: who has put a page out since it was looked at, or is about to move one, comes by no walk any
    // more.
    let is_kept = |slot: &Slot<M>| {
        let word = slot.load(Relaxed);
        // Most are of the usual kind, which is asked sooner.
        word.usual_page().is_some() || is_page_or_none(word)
    };
    let (groups, rest) = leaf.slots(0, leaf.len()).as_chunks::<SAMPLED>();
    let are_kept = || groups.iter().all(|group| group.iter().all(is_kept)) && rest.iter().all(is_kept);
    if M::guard(Guard::CollapseLooksUnderLock) && !are_kept() {
        return Err(Kept::Changed);
    }
    let too_early = if M::guard(Guard::CollapseCountsLast) { None } else { Some(are_unheld(cx, &leaf)) };
    let mark = Absent::Migration { pfn: head, is_exclusive: false, is_dirty: false, is_accessed: false };
    unhang(cx, &upper, &lower, (start, class), spares, Word::of_absent(mark));
    Ok((leaf, named, too_early))
}

#[inline(always)]
fn is_page_or_none<A: Arch>(word: Word<A>) -> bool {
    // Most are pages.
    word.is_page() || word.is_empty()
}

/// Puts `word` in the place of a leaf, at `start`, whose slots are all of `class`: the slot above says that from now
/// on.
fn unhang<M: Machine>(
    cx: &Cx<'_, M>,
    upper: &Locked<'_, M>,
    lower: &Locked<'_, M>,
    (start, class): (u64, ClassId),
    spares: &mut Spares,
    word: Word<M::Arch>,
) {
    let index = upper.table.index(start);
    if upper.table.class(cx, index) != class {
        upper.set_class(cx, index, index, class, Some(spares));
    }
    lower.set_stale();
    upper.exchange(index, word);
    cx.release_class(class, lower.table.len() as u64 - 1);
}

/// Makes one entry of those of a leaf at `start`, which the caller has claimed, that show all pages of a folio in their
/// places. Takes the locks of both tables, and tries that of the folio; flushes under them.
///
/// # Errors
/// Why not; all is as before then.
pub(crate) fn rejoin<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, start: u64, fits: &Fits<'_, M>) -> Result<(), Kept> {
    let parent = space.table_at(cx, start, LEVEL);
    if parent.level != LEVEL {
        return Err(Kept::Changed);
    }
    let mut spares = spare_for(cx, &parent, start)?;
    let rejoined = rejoin_locked(cx, space, &parent, start, fits, &mut spares);
    spares.free(cx);
    let leaf = rejoined?;
    for index in 0..leaf.len() {
        leaf.slot(index).store(Word::EMPTY, Release);
    }
    cx.retire_table(leaf.pfn);
    cx.count(Event::TableFree, 1);
    Ok(())
}

/// [`rejoin`] of what is at `address`, on behalf of who has cut it for an operation which then failed, and has claimed
/// it. Where the folio is in somebody's hands, or its pages have changed meanwhile, it stays cut.
pub(super) fn undo_cut<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, address: u64) {
    let start = address & !((1 << M::Arch::shift(LEVEL)) - 1);
    // It need not have been cut: a private mapping shows an object page by page, also where all pages of a folio are
    // there, and who copies such a mapping relies on that. So does one that is to have no huge pages.
    let may_be_huge = |attributes: &Attributes<M>| {
        let lets = !attributes.flags.has(ClassFlags::NO_HUGE_PAGES) && space.huge_pages.load(Relaxed) != NO_HUGE_PAGES;
        !attributes.is_private() && lets
    };
    let fits = |attributes: &Attributes<M>| attributes.object.is_none() || may_be_huge(attributes);
    if LEVEL <= M::Arch::HUGE_LEVEL {
        _ = rejoin(cx, space, start, &fits);
    }
}

fn rejoin_locked<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &Inner<M>,
    parent: &Table<'a, M>,
    start: u64,
    fits: &Fits<'_, M>,
    spares: &mut Spares,
) -> Result<Table<'a, M>, Kept> {
    let (upper, lower, class, _) = lock_both(cx, space, parent, start, fits, spares)?;
    let leaf = lower.table;
    let first = leaf.entry(0);
    let are_in_place = (0..leaf.len()).all(|index| is_further(leaf.entry(index), first, index as u64));
    if !are_in_place || !is_whole_folio(cx, first, leaf.len()) {
        return Err(Kept::Changed);
    }
    // Who has the folio's lock may have cut this mapping, and rely on there being none of all of the folio. Never
    // waiting: tables are locked.
    let lock = cx.vm().physical().frame(first.pfn()).folio_lock();
    if M::guard(Guard::RejoinLocksFolio) && !lock.try_acquire() {
        return Err(Kept::Busy);
    }
    unhang(cx, &upper, &lower, (start, class), spares, Word::of_absent(Absent::Splitting));
    flush(cx, space, start);
    // No processor notes anything there any more.
    let noted = (0..leaf.len()).fold(PageBits::NONE, |noted, index| noted | leaf.slot(index).load(Relaxed).bits());
    let word = Word::of_page(first.pfn(), noted);
    upper.exchange(parent.index(start), word.at_level(LEVEL));
    cx.vm().physical().frame(first.pfn()).drop_mappings(leaf.len() as u64 - 1);
    if M::guard(Guard::RejoinLocksFolio) {
        lock.release(cx.vm());
    }
    Ok(leaf)
}

/// Shows the folio `head` of shared memory in the place of a leaf at `start`, which the caller has claimed and emptied,
/// if the leaf is empty still, and `is_whole` says under the locks that all of the folio is the object's and stays so.
/// The caller's reference goes to the mapping. The entry does not let anybody store: as that of a small page, it does
/// from the first store on.
///
/// # Errors
/// Why not; all is as before then, and the reference the caller's.
pub(crate) fn show_instead<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    (start, head): (u64, Pfn),
    fits: &Fits<'_, M>,
    is_whole: &dyn Fn() -> bool,
    spares: &mut Spares,
) -> Result<(), Kept> {
    let parent = space.table_at(cx, start, LEVEL);
    if parent.level != LEVEL {
        return Err(Kept::Changed);
    }
    let leaf = {
        let (upper, lower, class, (attributes, _)) = lock_both(cx, space, &parent, start, fits, spares)?;
        let leaf = lower.table;
        // A fault may have come since.
        if leaf.used() > 0 || !is_whole() {
            return Err(Kept::Busy);
        }
        unhang(cx, &upper, &lower, (start, class), spares, Word::of_absent(Absent::Splitting));
        // Also of what the leaf owes.
        flush(cx, space, start);
        cx.vm().physical().frame(head).add_mapping_of_reference();
        let word = Word::of_page(head, PageBits::of(readable::<M::Arch>(attributes.prot).without(Prot::WRITE)));
        upper.exchange(parent.index(start), word.at_level(LEVEL));
        leaf
    };
    space.add_rss(cx, RssKind::SharedMemory, leaf.len() as i64);
    cx.retire_table(leaf.pfn);
    cx.count(Event::TableFree, 1);
    cx.count(Event::SharedHugeMapped, 1);
    Ok(())
}

/// A side array as [`show_instead`] wants it for the place at `start`, which the caller has claimed.
pub(crate) fn spare_for_place<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, start: u64) -> Result<Spares, Kept> {
    let parent = space.table_at(cx, start, LEVEL);
    if parent.level == LEVEL { spare_for(cx, &parent, start) } else { Err(Kept::Changed) }
}

/// Whether an entry shows the first page of a folio of as many pages.
fn is_whole_folio<M: Machine>(cx: &Cx<'_, M>, word: Word<M::Arch>, pages: usize) -> bool {
    if !word.is_page() || word.bits().has(PageBits::SPECIAL) {
        return false;
    }
    let (kind, order) = cx.vm().physical().frame(word.pfn()).kind_and_order();
    matches!(kind, Kind::Anonymous | Kind::File) && order == pages.ilog2() as u8
}
