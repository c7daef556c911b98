//! Visiting the entries that show a page.

use super::each_descendant;
use crate::arch::{Absent, Arch, SwapSlot};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Frame, Kind, Pfn};
use crate::space::Inner;
use crate::space::table::Locked;
use crate::stat::Event;
use core::ops::ControlFlow;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// In the offset of an anonymous page: it is a private copy of a page of an object, and the offset is that in the
/// object.
pub(crate) const COPY_OF_OBJECT: u64 = 1 << 63;

/// What a page is called: what tells at which addresses it can be mapped.
pub(crate) enum Name<M: Machine> {
    /// Anonymous memory: the creator's node, and the offset there in pages.
    Anonymous { owner: u64, offset: u64 },
    /// A page of an object, which the caller has a reference to, or found in this read-side section.
    Object { object: NonNull<object::Inner<M>>, index: u64 },
}

/// Which entries are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seek {
    /// Those that show the page.
    Page(Pfn),
    /// Those that say it is being moved from that frame.
    Migration(Pfn),
    /// Those that say it is in that slot.
    Swap(SwapSlot),
}

impl Seek {
    /// Whether the level 0 word is such an entry.
    #[inline(always)]
    pub(crate) fn is_named_by<A: Arch>(self, word: u64) -> bool {
        match self {
            Seek::Page(pfn) => A::is_page(word) && A::pfn(word) == pfn,
            _ if A::is_page(word) => false,
            Seek::Migration(pfn) => {
                matches!(A::absent_of(word), Some(Absent::Migration { pfn: named, .. }) if named == pfn)
            }
            Seek::Swap(slot) => matches!(A::absent_of(word), Some(Absent::Swap { slot: named, .. }) if named == slot),
        }
    }
}

/// An entry that was found. The leaf's lock is held, and the space does not end.
pub(crate) struct Found<'a, 'l, M: Machine> {
    pub(crate) space: &'a Inner<M>,
    pub(crate) leaf: &'l Locked<'a, M>,
    pub(crate) index: usize,
    pub(crate) address: u64,
    pub(crate) word: u64,
}

/// What is done with each entry; whether to go on.
pub(crate) type Visit<'v, 'a, M> = dyn FnMut(Found<'a, '_, M>) -> ControlFlow<()> + 'v;

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
/// or there is no further place to look. Some may be visited twice, if `visit` leaves them as they were.
///
/// What is there from the beginning to the end is found, also if it moves meanwhile (F4), and if fork copies it: the
/// copy is made under the lock of the parent's leaf, which is visited first, in a table that hangs in the child by then
/// (F1).
pub(crate) fn walk<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    name: &Name<M>,
    seek: Seek,
    visit: &mut Visit<'_, 'a, M>,
) -> ControlFlow<()> {
    cx.count(Event::RmapWalk, 1);
    match *name {
        Name::Anonymous { owner, offset } => each_descendant(cx, owner, &mut |space| {
            between_moves(cx, space, &mut || {
                let is_copy = offset & COPY_OF_OBJECT != 0;
                let offset = offset & !COPY_OF_OBJECT;
                if !is_copy {
                    look(cx, space, offset, 0, seek, visit)?;
                }
                // Where parts of the space's anonymous memory were moved to, or what private mappings of objects show.
                cx.each_class_within(space, &mut |class| {
                    if class.object.is_some() != is_copy || !class.is_private() {
                        return ControlFlow::Continue(());
                    }
                    look(cx, space, offset, class.delta, seek, visit)
                })
            })
        }),
        Name::Object { object, index } => {
            // SAFETY: the caller's promise.
            let object = unsafe { object.as_ref() };
            cx.each_class_of(object, &mut |class| {
                let Some(space) = class.space else { return ControlFlow::Continue(()) };
                // SAFETY: the class was found in this section, so slots of its space had it: the space is freed after
                // a grace period.
                let space = unsafe { space.as_ref() };
                between_moves(cx, space, &mut || {
                    look(cx, space, index, class.delta, seek, visit)?;
                    // The mapping may have been moved to where a class says that the walk has passed.
                    cx.each_class_of(object, &mut |class| match class.space {
                        Some(other) if core::ptr::eq(other.as_ptr(), space) && space.has_moved() => {
                            look(cx, space, index, class.delta, seek, visit)
                        }
                        _ => ControlFlow::Continue(()),
                    })
                })
            })
        }
    }
}

/// Visits the entries that show page `pfn`, as many as there are at first or until `visit` says no; how many of them were
/// not found. The caller has the folio lock and a reference.
pub(super) fn each_mapping<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    pfn: Pfn,
    visit: &mut dyn FnMut(&Found<'a, '_, M>) -> bool,
) -> u32 {
    let frame = cx.vm().physical().frame(pfn);
    let mut left = frame.mappings();
    if left == 0 {
        return 0;
    }
    let Some(name) = Name::of(frame) else { return left };
    let _ = walk(cx, &name, Seek::Page(pfn), &mut |found| {
        if !visit(&found) {
            return ControlFlow::Break(());
        }
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    left
}

/// Calls `look` for the places of a page in `space` until no entry was being moved there from before to after.
fn between_moves<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    look: &mut dyn FnMut() -> ControlFlow<()>,
) -> ControlFlow<()> {
    loop {
        let done = space.moves_done.load(SeqCst);
        look()?;
        if space.moves_begun.load(SeqCst) == done || !M::guard(Guard::MoveSeen) {
            return ControlFlow::Continue(());
        }
        // Whoever moves entries has pre-emption off.
        cx.serve_mailbox();
        if space.moves_begun.load(SeqCst) != space.moves_done.load(SeqCst) {
            cx.vm().machine().wait_change(space.moves_done.as_core(), done);
        }
    }
}

/// Looks at the entry of page `offset` of what is mapped with difference `delta` in `space`.
fn look<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &'a Inner<M>,
    offset: u64,
    delta: u64,
    seek: Seek,
    visit: &mut Visit<'_, 'a, M>,
) -> ControlFlow<()> {
    // Of an offset so high that it had the place of a flag, those bits are missing, as they are in an address.
    let page = offset.wrapping_add(delta) & (u64::MAX >> M::Arch::PAGE_SHIFT);
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

fn look_pinned<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &'a Inner<M>,
    address: u64,
    seek: Seek,
    visit: &mut Visit<'_, 'a, M>,
) -> ControlFlow<()> {
    loop {
        let leaf = space.lowest(cx, address);
        if leaf.level > 0 {
            return ControlFlow::Continue(());
        }
        let index = leaf.index(address);
        // Without the lock at first: most places of shared memory show something else.
        if !seek.is_named_by::<M::Arch>(leaf.entry(index)) {
            return ControlFlow::Continue(());
        }
        // A stale leaf was empty: its successor is looked at.
        let Some(locked) = leaf.lock(cx, space, address) else { continue };
        let word = leaf.entry(index);
        if !seek.is_named_by::<M::Arch>(word) {
            return ControlFlow::Continue(());
        }
        return visit(Found { space, leaf: &locked, index, address, word });
    }
}
