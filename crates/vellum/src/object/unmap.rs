//! Taking pages of an object out of whatever shows them.
//!
//! One pass over the places finds every entry, with the core left whenever enough was done. A mover who did not find
//! out that the object is being cut had the locks of the leaves that he changes before that was said, so that their
//! classes were on the chain by then; and who looks there waits for the lock. Fork asks nothing: it copies to a space
//! that is younger, to which the pass comes later.

use super::Inner;
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Kind;
use crate::space;
use crate::space::Attributes;
use crate::space::apply::{zap, zap_shown};
use crate::space::cursor::{Cursor, Slots, Step};
use crate::sync::fence;
use crate::tlb::Gather;
use crate::vm::Vm;
use core::ops::{ControlFlow, Range};
use core::sync::atomic::Ordering::SeqCst;

/// Pages that an object loses.
pub(super) struct Loss {
    /// Which.
    pub(super) pages: Range<u64>,
    /// Whether private copies of them are lost too.
    pub(super) takes_copies: bool,
}

/// Removes the entries of all mappings of the object that show what it loses.
pub(super) fn unmap<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, loss: &Loss) {
    // Either who brings entries finds that the object is being cut, or the tables that he has made are seen here.
    fence::<M>(SeqCst);
    let mut pass = Pass { loss, done: None, inside: None, work: 0 };
    while pass.goes_on(&Cx::enter(vm), inner) {}
}

/// A space by its age, which is its identity, and a difference between addresses and offsets there.
type Place = (u64, u64);

/// How far a pass over the places is where an object is shown. By age, parents first: what fork copies before the pass
/// comes to the parent, it finds in the child (F11). A place that comes meanwhile in a space it has passed shows
/// nothing of what is being cut off.
struct Pass<'l> {
    loss: &'l Loss,
    /// The last place that was gone through, or is about to be.
    done: Option<Place>,
    /// Up to where of a place that is only gone through in part.
    inside: Option<(Place, u64)>,
    /// What was done in this section, in slots.
    work: usize,
}

impl Pass<'_> {
    /// Work, in slots, after which the core is left for a moment.
    const SECTION: usize = 192;
    /// What it is to look at a place or a table, in slots: all places that one look at the classes has found, of which
    /// each may need both, come within a section.
    const LOOK: usize = Self::SECTION / (2 * PLACES);
    /// What it is to take a huge page away, in slots: a flush comes with it.
    const HUGE: usize = 16;

    /// Goes on for a section; whether it may not be at the end.
    fn goes_on<M: Machine>(&mut self, cx: &Cx<'_, M>, inner: &Inner<M>) -> bool {
        self.work = 0;
        let (places, count) = self.next_places(cx, inner);
        for &(place, space) in places[..count].iter().flatten() {
            // What cannot be pinned ends: nobody runs in it.
            if space.pin() {
                let is_through = self.cut(cx, space, inner, place);
                space.unpin();
                if !is_through {
                    return true;
                }
            }
            self.done = Some(place);
        }
        count > 0
    }

    /// The first places behind those that are done.
    fn next_places<'a, M: Machine>(&self, cx: &'a Cx<'_, M>, inner: &Inner<M>) -> (Places<'a, M>, usize) {
        let (mut places, mut count) = ([None; PLACES], 0);
        let _ = cx.each_class_of(inner, &mut |class, _| {
            if let Some(space) = class.space {
                // SAFETY: the class was found in this section, see `rmap::walk`.
                let space = unsafe { space.as_ref() };
                let age = if M::guard(Guard::ParentsCutFirst) { space.id() } else { u64::MAX - space.id() };
                let place = (age, class.delta);
                if Some(place) > self.done {
                    insert(&mut places, &mut count, (place, space));
                }
            }
            ControlFlow::Continue(())
        });
        (places, count)
    }

    /// Goes through a place; whether it came to the end.
    fn cut<M: Machine>(&mut self, cx: &Cx<'_, M>, space: &space::Inner<M>, inner: &Inner<M>, place: Place) -> bool {
        let (_, delta) = place;
        let range = addresses_of::<M::Arch>(&self.loss.pages, delta);
        let inside = self.inside.take().filter(|&(inside, _)| inside == place);
        let mut here = inside.map_or(range.start, |(_, here)| here);
        while here < range.end {
            if self.work >= Self::SECTION {
                self.inside = Some((place, here));
                return false;
            }
            let mut cursor = space.cursor_over(cx, (range.start, range.end), here);
            let slots = next_slots(cx, &mut cursor);
            here = cursor.here();
            if let Some(slots) = slots {
                match cut_slots(cx, space, inner, &slots, self.loss.takes_copies, delta) {
                    Some(shown) => self.work += shown,
                    // A stale leaf was empty, or goes with all that it shows; it may have a successor.
                    None => here = slots.start,
                }
            }
            self.work += Self::LOOK;
        }
        self.work += Self::LOOK;
        true
    }
}

/// Places found in one look at the classes of an object, which may be many.
const PLACES: usize = 32;
type Places<'a, M> = [Option<(Place, &'a space::Inner<M>)>; PLACES];

/// Adds a place to the first ones, in order, unless it is known or comes behind as many as there is room for.
fn insert<'a, M: Machine>(places: &mut Places<'a, M>, count: &mut usize, new: (Place, &'a space::Inner<M>)) {
    let known = |at: usize| places[at].map_or((u64::MAX, u64::MAX), |(place, _)| place);
    let at = (0..*count).find(|&at| known(at) >= new.0).unwrap_or(*count);
    if at == PLACES || at < *count && known(at) == new.0 {
        return;
    }
    *count = (*count + 1).min(PLACES);
    places[at..*count].rotate_right(1);
    places[at] = Some(new);
}

/// Where a mapping with difference `delta` shows `pages`, within the user range.
fn addresses_of<A: Arch>(pages: &Range<u64>, delta: u64) -> Range<u64> {
    // No mapping shows pages behind that.
    let most = (i64::MAX as u64 >> A::PAGE_SHIFT) + 1;
    let address = |index: u64| match index.min(most).wrapping_add(delta) {
        page if (page as i64) < 0 => A::USER_START,
        page if page < A::USER_END >> A::PAGE_SHIFT => (page << A::PAGE_SHIFT).max(A::USER_START),
        _ => A::USER_END,
    };
    address(pages.start)..address(pages.end)
}

/// The next slots that the cursor comes to. Who has the lock of an upper table on the way shows a huge page there
/// before that, or finds that the object is being cut; a leaf is locked in any case (F11H).
fn next_slots<'a, M: Machine>(cx: &'a Cx<'_, M>, cursor: &mut Cursor<'a, '_, M>) -> Option<Slots<'a, M>> {
    loop {
        match cursor.next()? {
            Step::Down(table) if table.level == 1 && M::guard(Guard::HugeAwaitedByCut) => {
                table.frame.lock.wait_free(cx)
            }
            Step::Leaf(slots) => return Some(slots),
            _ => {}
        }
    }
}

/// Removes the entry of a huge page of the object, all of it, also where a part of it is lost: the rest comes back by
/// faults, and no table is needed. How many pages it showed, if that was all there was to be looked at.
fn drop_huge<M: Machine>(
    cx: &Cx<'_, M>,
    space: &space::Inner<M>,
    inner: &Inner<M>,
    slots: &Slots<'_, M>,
    delta: u64,
) -> Option<usize> {
    let table = slots.leaf;
    let locked = table.lock(cx, space, slots.start)?;
    if !table.is_childless(slots.low) {
        return None;
    }
    let word = table.page(slots.low);
    let is_file = word.is_page() && cx.vm().physical().folio(word.pfn()).is_kind(Kind::File);
    // A huge page of the object is of a class that shows it there.
    if !is_file || !shows(&cx.attributes(table.class(cx, slots.low)), inner, delta) {
        return Some(0);
    }
    let mut gather = Gather::new(cx, space.id(), space.tlb());
    zap(cx, space, &locked, slots.low, slots.low, slots.start & !(table.span() - 1), &mut gather);
    gather.finish();
    drop(locked);
    Some(Pass::HUGE)
}

/// Whether a mapping of those attributes shows the object, with that difference.
fn shows<M: Machine>(attributes: &Attributes<M>, inner: &Inner<M>, delta: u64) -> bool {
    attributes.delta == delta && attributes.object.is_some_and(|object| core::ptr::eq(object.as_ptr(), inner))
}

/// Removes the entries of slots of a leaf; how many of them showed the object, if the leaf is still there.
fn cut_slots<M: Machine>(
    cx: &Cx<'_, M>,
    space: &space::Inner<M>,
    inner: &Inner<M>,
    slots: &Slots<'_, M>,
    takes_copies: bool,
    delta: u64,
) -> Option<usize> {
    if slots.leaf.level > 0 {
        return drop_huge(cx, space, inner, slots, delta);
    }
    let locked = slots.leaf.lock(cx, space, slots.start)?;
    let mut gather = Gather::new(cx, space.id(), space.tlb());
    let (mut slot, mut shown) = (slots.low, 0);
    while slot <= slots.high {
        let (class, end) = slots.leaf.runs(cx).run(slot, slots.high + 1);
        let attributes = (class != space::ClassId::NONE).then(|| cx.attributes(class));
        if let Some(attributes) = attributes.filter(|attributes| shows(attributes, inner, delta)) {
            let zap = if takes_copies || !attributes.is_private() { zap } else { zap_shown };
            zap(cx, space, &locked, slot, end - 1, slots.address(slot), &mut gather);
            shown += end - slot;
        }
        slot = end;
    }
    if M::guard(Guard::CutFlushedUnderLock) {
        // There is no claim: another mapping may come here as soon as the lock goes.
        gather.finish();
    }
    drop(locked);
    Some(shown)
}
