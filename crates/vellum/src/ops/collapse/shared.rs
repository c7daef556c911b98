//! Collapse of shared memory: for all who map it, on behalf of one.
//!
//! The object gathers its pages in a folio, and nobody maps them then. Whoever has no table in the place gets the huge
//! page by a fault. The table of who has asked for it goes, with what it shows of the memory, which is nobody's loss,
//! and one entry comes there.

use super::{LEVEL, Refused, Wish, sizes};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object::{self, Cached, Object, Shows};
use crate::phys::{Folio, Kind, Pfn, release};
use crate::space::apply::{ClassChange, Fold, PageChange};
use crate::space::claim::Claim;
use crate::space::collapse::{Fits, Kept, Seen, rejoin, show_instead, spare_for_place};
use crate::space::{Attributes, ClassId, Space, Spares};

/// Shared memory that is mapped in the place of a huge page.
pub(super) struct Shared<'vm, M: Machine> {
    object: Object<'vm, M>,
    /// The page of it that is shown first.
    first: u64,
    attributes: Attributes<M>,
}

impl<'vm, M: Machine> Space<'vm, M> {
    /// The shared memory that is mapped at `start`; none if it is something else.
    ///
    /// # Errors
    /// Why it is not to be collapsed.
    #[inline(always)]
    pub(super) fn shared_at(&self, start: u64, wish: Wish<'_>) -> Result<Option<Shared<'vm, M>>, Refused> {
        let cx = Cx::enter(self.vm());
        let class = self.inner().span_at(&cx, start, start + 1).class;
        if class == ClassId::NONE {
            return Ok(None);
        }
        let attributes = cx.attributes(class);
        let Some(object) = attributes.object.filter(|_| !attributes.is_private()) else { return Ok(None) };
        if !wish.fits(self, &attributes) {
            return Err(Refused::Unwanted);
        }
        // SAFETY: found in a class within this read-side section.
        if !unsafe { object.as_ref() }.try_get() {
            return Err(Refused::Busy);
        }
        // SAFETY: the reference that was just taken.
        let object = unsafe { Object::of_reference(self.vm(), object) };
        let first = (start >> M::Arch::PAGE_SHIFT).wrapping_sub(attributes.delta);
        Ok(Some(Shared { object, first, attributes }))
    }

    /// Makes one folio of what the object has where `start` shows it, and has the space show that; whether it did not
    /// show it before.
    #[cold]
    pub(super) fn collapse_shared(&self, start: u64, shared: &Shared<'_, M>, wish: Wish<'_>) -> Result<bool, Refused> {
        let (vm, pages) = (self.vm(), sizes::<M::Arch>().1);
        let (inner, first) = (shared.object.inner(), shared.first);
        match self.inner().look_at_place(&Cx::enter(vm), start) {
            Seen::Huge => return Ok(false),
            Seen::Mixed => return Err(Refused::Mixed),
            Seen::Small(_, census) if !self.has_room_in_group(census.none) => {
                return Err(Refused::GroupLimit(census.none));
            }
            Seen::Nothing | Seen::Small(..) => {}
        }
        if !first.is_multiple_of(pages) {
            return Err(Refused::Unwanted);
        }
        let seen = object::look_at_cached(&Cx::enter(vm), inner, first, pages);
        match seen {
            Cached::Single(0) => return Err(Refused::Nothing),
            Cached::Busy => return Err(Refused::Busy),
            Cached::Parts => return Err(Refused::Parts),
            Cached::Single(count) => {
                let is_wanted =
                    |none: u64| if let Wish::Policy(limits) = wish { none <= limits.none_max } else { true };
                if !is_wanted(pages - count) {
                    return Err(Refused::Unwanted);
                }
                let head = self.folio_for_collapse(start, &shared.attributes, wish).ok_or(Refused::OutOfMemory)?;
                self.gather(shared, head)?;
            }
            Cached::Whole => {}
        }
        self.show_whole(start, shared, wish)
    }

    /// Gathers what the object has in the folio `head`, which goes if that cannot be.
    fn gather(&self, shared: &Shared<'_, M>, head: Pfn) -> Result<(), Refused> {
        let vm = self.vm();
        let of = Folio { head, order: sizes::<M::Arch>().1.ilog2() as u8 };
        object::gather(vm, shared.object.inner(), shared.first, of).map_err(|kept| {
            let cx = Cx::enter(vm);
            vm.physical().frame(head).folio_lock().release(vm);
            release(&cx, head);
            kept.into()
        })
    }

    /// Shows the folio by one entry at `start`, if the object is shown there still; whether it was not shown so before.
    ///
    /// Here and not by a fault, which may bring small pages: where the space lets only what was advised have huge ones.
    fn show_whole(&self, start: u64, shared: &Shared<'_, M>, wish: Wish<'_>) -> Result<bool, Refused> {
        let (vm, inner) = (self.vm(), self.inner());
        let mut claim = Claim::acquire_from(vm, inner, (start, start + sizes::<M::Arch>().0), LEVEL);
        let shown = self.show_claimed(&mut claim, shared, wish);
        claim.release();
        shown
    }

    /// [`Space::show_whole`] of the place that is claimed.
    fn show_claimed(&self, claim: &mut Claim<'_, M>, shared: &Shared<'_, M>, wish: Wish<'_>) -> Result<bool, Refused> {
        let (vm, inner, start) = (self.vm(), self.inner(), claim.start);
        // Asked again, as it may have been given a guard since, or be to have no huge pages.
        let is_its = |attributes: &Attributes<M>| {
            let object = Some(shared.object.inner_pointer());
            let is_same = attributes.object == object && attributes.delta == shared.attributes.delta;
            is_same && !attributes.is_private() && wish.fits(self, attributes)
        };
        let mut spares = {
            let cx = Cx::enter(vm);
            match inner.look_at_place(&cx, start) {
                Seen::Huge | Seen::Nothing => return Ok(false),
                Seen::Small(class, _) if is_its(&cx.attributes(class)) => {}
                Seen::Small(..) => return Err(Refused::Unwanted),
                Seen::Mixed => return Err(Refused::Mixed),
            }
            if rejoin(&cx, inner, start, &is_its).is_ok() {
                return Ok(true);
            }
            // Before the pages go: without it they would go for nothing, each time.
            spare_for_place(&cx, inner, start)?
        };
        claim.apply(vm, ClassChange::Keep, PageChange::Zap, Spares::default(), Fold::Nothing);
        let cx = Cx::enter(vm);
        let shown = self.install_whole(&cx, start, shared, &is_its, &mut spares);
        spares.free(&cx);
        shown.map(|()| true)
    }

    /// Shows the folio in the place of a leaf that was emptied.
    fn install_whole(
        &self,
        cx: &Cx<'_, M>,
        start: u64,
        shared: &Shared<'_, M>,
        is_its: &Fits<'_, M>,
        spares: &mut Spares,
    ) -> Result<(), Refused> {
        let (object, first, pages) = (shared.object.inner(), shared.first, sizes::<M::Arch>().1);
        let head = object.lookup(cx, first).ok_or(Refused::Busy)?;
        let frame = cx.vm().physical().frame(head);
        let is_huge = frame.kind_and_order() == (Kind::File, pages.ilog2() as u8) && !frame.is_full();
        let is_whole = || object.shows_whole(frame, first, pages) == Shows::Whole;
        let shown = match is_huge {
            true => show_instead(cx, self.inner(), (start, head), is_its, &is_whole, spares),
            false => Err(Kept::Changed),
        };
        shown.map_err(|kept| {
            object::release(cx, head);
            kept.into()
        })
    }
}
