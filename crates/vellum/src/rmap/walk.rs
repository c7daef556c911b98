//! Visiting the entries that show a page.

mod folio;

use crate::arch::{Absent, Arch, SwapSlot, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::{COPY_OF_OBJECT, Folio, Frame, Kind, Pfn};
use crate::space::lineage::{each_descendant, space_named};
use crate::space::table::Locked;
use crate::space::{Attributes, Extent, Inner};
use crate::stat::Event;
use core::ops::{ControlFlow, Range};
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// What a page is called: what tells at which addresses it can be mapped.
pub(crate) enum Name<M: Machine> {
    /// Anonymous memory: the creator's node, and the offset there in pages.
    Anonymous { owner: u64, offset: u64 },
    /// A page of an object, which the caller has a reference to, or found in this read-side section.
    Object { object: NonNull<object::Inner<M>>, index: u64 },
}

/// Which entries are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seek {
    what: What,
    /// The first frame, or slot of swap, that they may name, and of how many: so many entries are to be found at each
    /// place.
    first: u64,
    pages: u64,
    /// Which page of the folio that is the first of.
    from: u64,
    is_folio: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Those that show the page, or pages of the folio, or all of it.
    Page,
    /// Those of them that show all of the folio, which has several pages.
    Huge,
    /// Those through which it is stored to as a page of an object: they show the page, and are of shared mappings. When
    /// a place was looked at, nobody is in the middle of taking an entry there.
    Stored,
    /// Those that say it, or a page of it, is being moved from there.
    Migration,
    /// Those that say it is in that slot, or a page of the folio in one of so many slots from there on.
    Swap,
}

impl Seek {
    #[inline(always)]
    fn of(what: What, first: u64, pages: u64) -> Seek {
        Seek { what, first, pages, from: 0, is_folio: pages > 1 }
    }

    /// What shows the page, or pages of the folio, or all of it.
    #[inline(always)]
    pub(crate) fn page(of: Folio) -> Seek {
        Seek::of(What::Page, of.head.0, of.pages())
    }

    /// What shows all of a folio that has several pages.
    pub(crate) fn huge(of: Folio) -> Seek {
        Seek::of(What::Huge, of.head.0, of.pages())
    }

    /// That through which a page is stored to as one of an object.
    pub(crate) fn stored(pfn: Pfn) -> Seek {
        Seek::of(What::Stored, pfn.0, 1)
    }

    /// What says that the folio, or a page of it, is being moved from there.
    #[inline(always)]
    pub(crate) fn migration(of: Folio) -> Seek {
        Seek::of(What::Migration, of.head.0, of.pages())
    }

    /// What says that the page is in one of so many slots from `first` on.
    #[inline(always)]
    pub(crate) fn swap(first: SwapSlot, pages: u64) -> Seek {
        Seek::of(What::Swap, first.0, pages)
    }

    /// Of that, what is at the places of these pages of the folio. What shows all of it is at that of its first page.
    pub(crate) fn part(self, pages: Range<u64>) -> Seek {
        // Entries that say it is being moved name its head.
        let first = if self.what == What::Migration { self.first } else { self.first + pages.start };
        Seek { first, pages: pages.end - pages.start, from: pages.start, ..self }
    }

    /// Whether there is nothing to be found in tables of that level: what shows all of a folio belongs to its first
    /// part.
    #[inline(always)]
    fn passes_by(self, level: usize) -> bool {
        if level == 0 { self.what == What::Huge } else { self.from > 0 }
    }

    /// Whether the word, as it would stand in a leaf, is such an entry.
    #[inline(always)]
    pub(crate) fn is_named_by<A: Arch>(self, word: Word<A>) -> bool {
        let has = |number: u64| number.wrapping_sub(self.first) < self.pages;
        match self.what {
            What::Page | What::Huge | What::Stored => word.page().is_some_and(|pfn| has(pfn.0)),
            What::Migration => {
                matches!(word.absent(), Some(Absent::Migration { pfn: named, .. }) if named.0 == self.first)
            }
            What::Swap => matches!(word.absent(), Some(Absent::Swap { slot, .. }) if has(slot.0)),
        }
    }

    /// Whether the lock of each place's leaf is to be taken, whatever it shows without.
    #[inline(always)]
    fn awaits_takers<M: Machine>(self) -> bool {
        self.what == What::Stored && M::guard(Guard::TakersAwaited)
    }

    /// Whether such entries can be of the class.
    fn is_of<M: Machine>(self, class: &Attributes<M>) -> bool {
        !(self.what == What::Stored && class.is_private())
    }
}

/// An entry that was found: of a leaf, or of an upper table where it shows all of a folio. The table's lock is held,
/// and the space does not end.
pub(crate) struct Found<'a, 'l, M: Machine> {
    pub(crate) space: &'a Inner<M>,
    pub(crate) leaf: &'l Locked<'a, M>,
    pub(crate) index: usize,
    pub(crate) address: u64,
    pub(crate) word: Word<M::Arch>,
    /// Which page of the folio it shows, or says something of: the first one.
    pub(crate) page: u64,
}

impl<M: Machine> Found<'_, '_, M> {
    /// Whether the entry is one of an upper table, for all of a folio.
    #[inline(always)]
    pub(crate) fn is_huge(&self) -> bool {
        self.leaf.table.level > 0
    }

    /// How many pages the entry is for.
    #[inline(always)]
    pub(crate) fn pages(&self) -> u64 {
        self.leaf.table.pages()
    }
}

/// What is done with each entry; whether to go on.
pub(crate) type Visit<'v, 'a, M> = dyn FnMut(&Found<'a, '_, M>) -> ControlFlow<()> + 'v;

impl<M: Machine> Name<M> {
    /// The name of the page in `frame`, if it has one. The caller holds the folio lock, and has seen in this section
    /// that the page is mapped (an anonymous one) or in its object's cache.
    pub(crate) fn of(frame: &Frame<M>) -> Option<Self> {
        let (owner, number) = (frame.words[0].load(Relaxed), frame.words[1].load(Relaxed));
        match frame.kind() {
            Kind::Anonymous => Some(Name::Anonymous { owner, offset: number }),
            Kind::File => {
                let object = NonNull::new(core::ptr::with_exposed_provenance_mut(owner as usize))?;
                Some(Name::Object { object, index: number })
            }
            _ => None,
        }
    }
}

/// Visits the entries that `seek` means of the page called `name`, each under its leaf's lock, until `visit` breaks off
/// or there is no further place to look. While nothing changes, each is visited once, unless it is left as it was and
/// the space maps two objects privately with the same difference. One that `visit` leaves as it was may be visited
/// again if something moves meanwhile. So visits are no count of entries.
///
/// What is there from the beginning to the end is found, whatever becomes of the rights there (B22). If it is of an
/// anonymous page, it is found also if it moves meanwhile (F4), and if fork copies it: the copy is made under the lock
/// of the parent's leaf, which is visited first, in a table that hangs in the child by then (F1). An entry of an
/// object's page that moves may be missed. Nobody relies on it: who unmaps the page asks its mapping count, and a move
/// notes with the page that it was stored to, for write-back (B22).
///
/// Of a folio of several pages the place of its head is where its name says, and that of each page behind it; all that
/// lies within one table is visited under one hold of its lock. Of a part of it ([`Seek::part`]) no other places are
/// looked at.
///
/// What a walk does is bounded by the places that there are ([`Cx::each_class_within`]): a move in a space meanwhile
/// makes it look there once more, but only a few times.
pub(crate) fn walk<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    name: &Name<M>,
    seek: &Seek,
    visit: &mut Visit<'_, 'a, M>,
) -> ControlFlow<()> {
    cx.count(Event::RmapWalk, 1);
    match *name {
        Name::Anonymous { owner, offset } => each_descendant(cx, owner, &mut |space| {
            between_moves(cx, space, &mut || walk_space(cx, space, offset + seek.from, seek, visit))
        }),
        // SAFETY: the caller's promise.
        Name::Object { object, index } => walk_object(cx, unsafe { object.as_ref() }, index + seek.from, seek, visit),
    }
}

/// [`walk`] for the page, or folio, of `frame`, which has so many mappings, if it has a name. A single one is mostly
/// where the page was made: who breaks off when he has found it there is spared the rest. Who does not may be called
/// for it twice.
#[inline(always)]
pub(crate) fn walk_mapped<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    frame: &Frame<M>,
    seek: &Seek,
    mappings: u32,
    visit: &mut Visit<'_, 'a, M>,
) {
    let Some(name) = Name::of(frame) else { return };
    if mappings == 1
        && let Name::Anonymous { owner, offset } = name
        && offset & COPY_OF_OBJECT == 0
        && let Some(space) = space_named(cx, owner)
        && look(cx, space, offset + seek.from, 0, seek, visit).is_break()
    {
        cx.count(Event::RmapWalk, 1);
        return;
    }
    let _ = walk(cx, &name, seek, visit);
}

/// Walks an anonymous page's places in one space.
#[inline(always)]
fn walk_space<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &'a Inner<M>,
    offset: u64,
    seek: &Seek,
    visit: &mut Visit<'_, 'a, M>,
) -> ControlFlow<()> {
    let is_copy = offset & COPY_OF_OBJECT != 0;
    let offset = offset & !COPY_OF_OBJECT;
    if !is_copy {
        look(cx, space, offset, 0, seek, visit)?;
    }
    // Where parts of the space's anonymous memory were moved to, or what private mappings of objects show.
    let mut last = None;
    cx.each_class_within(space, &mut |class, extent| {
        cx.count(Event::RmapStep, 1);
        if class.object.is_some() != is_copy
            || !class.is_private()
            || !has_any::<M>(extent, offset, class.delta, seek.pages)
        {
            return ControlFlow::Continue(());
        }
        if is_same::<M>(&mut last, space, class.delta) {
            return ControlFlow::Continue(());
        }
        look(cx, space, offset, class.delta, seek, visit)
    })
}

/// Walks the places of page `index` of an object, or of the folio which begins with that.
#[inline(always)]
fn walk_object<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    object: &object::Inner<M>,
    index: u64,
    seek: &Seek,
    visit: &mut Visit<'_, 'a, M>,
) -> ControlFlow<()> {
    let mut last = None;
    cx.each_class_of(object, &mut |class, extent| {
        cx.count(Event::RmapStep, 1);
        let Some(space) = class.space else { return ControlFlow::Continue(()) };
        // SAFETY: the class was found in this section, so slots of its space had it: the space is freed after a grace
        // period.
        let space = unsafe { space.as_ref() };
        if !seek.is_of(class)
            || !has_any::<M>(extent, index, class.delta, seek.pages)
            || is_same::<M>(&mut last, space, class.delta)
        {
            return ControlFlow::Continue(());
        }
        look(cx, space, index, class.delta, seek, visit)
    })
}

/// Whether a class leads to the place `last`, where the one before led; else it is that from now on. Classes that lead
/// to one place follow each other, such as those of a mapping of which a part was protected.
#[inline(always)]
fn is_same<'a, M: Machine>(last: &mut Option<(&'a Inner<M>, u64)>, space: &'a Inner<M>, delta: u64) -> bool {
    let is_same = last.is_some_and(|(known, difference)| core::ptr::eq(known, space) && difference == delta);
    *last = Some((space, delta));
    is_same && M::guard(Guard::WalkedToTheEnd)
}

/// Visits the entries that show the page, or folio, of `frame` until `visit` says no; how many it was content with. The
/// caller has the folio lock and a reference.
///
/// How often `visit` was called says nothing of how many entries there are: one that it leaves may be visited again,
/// one that it takes may come back, and others come and go meanwhile. So the walk ends early only where it is certain
/// that there is nothing else: under the lock of a leaf whose entry is the page's only mapping, or where none is left
/// (F16).
pub(super) fn each_mapping<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    frame: &Frame<M>,
    seek: &Seek,
    mut visit: impl FnMut(&Found<'a, '_, M>) -> bool,
) -> u32 {
    let at_first = frame.mappings();
    let mut visits = 0;
    if at_first == 0 {
        return visits;
    }
    let content = &mut visits;
    walk_mapped(cx, frame, seek, at_first, &mut move |found| {
        // What is being taken out of its entry counts as a mapping until nobody can store through it any more.
        let is_only = frame.mappings() == 1;
        if !visit(found) {
            return ControlFlow::Break(());
        }
        *content += 1;
        let is_last = is_only || frame.mappings() == 0;
        let is_over = if M::guard(Guard::WalkedToTheEnd) { is_last } else { *content == at_first };
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    visits
}

/// Passes over a space, during each of which something was moved there, before moves are held back.
const PASSES: u32 = 2;

/// Calls `look` for the places of a page in `space` until no entry was being moved there from before to after. However
/// many moves come: after [`PASSES`] they are held back, so that only those disturb that had begun.
#[inline(always)]
fn between_moves<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    look: &mut dyn FnMut() -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut passes = 0;
    let mut _held_back = None;
    loop {
        let done = space.moves_done.load(SeqCst);
        look()?;
        if space.moves_begun.load(SeqCst) == done || !M::guard(Guard::MoveSeen) {
            return ControlFlow::Continue(());
        }
        passes += 1;
        if passes == PASSES {
            _held_back = Some(space.hold_moves_back());
        }
        // Whoever moves entries has pre-emption off.
        cx.serve_mailbox();
        if space.moves_begun.load(SeqCst) != space.moves_done.load(SeqCst) {
            cx.vm().machine().wait_change(space.moves_done.as_core(), done);
        }
    }
}

/// The number of page `offset` of what is mapped with difference `delta`. Of an offset so high that it had the place of
/// a flag, those bits are missing, as they are in an address.
#[inline(always)]
fn page<M: Machine>(offset: u64, delta: u64) -> u64 {
    offset.wrapping_add(delta) & (u64::MAX >> M::Arch::PAGE_SHIFT)
}

/// Whether any of `pages` pages from `offset` on, of what is mapped with difference `delta`, lies in the extent.
#[inline(always)]
fn has_any<M: Machine>(extent: Extent, offset: u64, delta: u64, pages: u64) -> bool {
    let first = page::<M>(offset, delta);
    match pages {
        1 => extent.has(first),
        _ => folio::parts::<M>(first, pages).iter().any(|&(first, pages)| extent.meets(first, pages)),
    }
}

/// Looks at the entry of page `offset` of what is mapped with difference `delta` in `space`.
fn look<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &'a Inner<M>,
    offset: u64,
    delta: u64,
    seek: &Seek,
    visit: &mut Visit<'_, 'a, M>,
) -> ControlFlow<()> {
    let page = page::<M>(offset, delta);
    if seek.is_folio {
        return folio::look(cx, space, (page, delta), seek, visit);
    }
    let address = page << M::Arch::PAGE_SHIFT;
    if !(M::Arch::USER_START..M::Arch::USER_END).contains(&address) || page > M::Arch::USER_END >> M::Arch::PAGE_SHIFT {
        return ControlFlow::Continue(());
    }
    if !space.pin() {
        return ControlFlow::Continue(());
    }
    cx.count(Event::RmapLook, 1);
    let flow = look_pinned(cx, space, address, seek, visit);
    space.unpin();
    flow
}

/// Looks until the leaf was not stale.
fn look_pinned<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &'a Inner<M>,
    address: u64,
    seek: &Seek,
    visit: &mut Visit<'_, 'a, M>,
) -> ControlFlow<()> {
    #[cold]
    #[inline(never)]
    fn again<'a, M: Machine>(
        cx: &'a Cx<'_, M>,
        space: &'a Inner<M>,
        address: u64,
        seek: &Seek,
        visit: &mut Visit<'_, 'a, M>,
    ) -> ControlFlow<()> {
        loop {
            if let Some(flow) = look_once(cx, space, address, seek, visit) {
                return flow;
            }
        }
    }
    // Once apart from all further times, for which it would have to keep things.
    look_once(cx, space, address, seek, visit).unwrap_or_else(|| again(cx, space, address, seek, visit))
}

/// Looks at the entry for `address`; `None` if its leaf is stale: it was empty, or went with all its entries, and what
/// has come in its place is to be looked at.
#[inline(always)]
fn look_once<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &'a Inner<M>,
    address: u64,
    seek: &Seek,
    visit: &mut Visit<'_, 'a, M>,
) -> Option<ControlFlow<()>> {
    let leaf = space.lowest(cx, address);
    if leaf.level > 0 {
        return Some(ControlFlow::Continue(()));
    }
    let index = leaf.index(address);
    // Without the lock at first: most places of shared memory show something else.
    let seen = leaf.entry(index);
    let was_named = seek.is_named_by::<M::Arch>(seen);
    if !was_named && !seek.awaits_takers::<M>() {
        return Some(ControlFlow::Continue(()));
    }
    let locked = leaf.lock(cx, space, address)?;
    let word = leaf.entry(index);
    let is_named = if word == seen { was_named } else { seek.is_named_by::<M::Arch>(word) };
    if !is_named {
        return Some(ControlFlow::Continue(()));
    }
    Some(visit(&Found { space, leaf: &locked, index, address, word, page: 0 }))
}
