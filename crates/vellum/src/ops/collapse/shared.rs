//! Collapse of shared memory: for all who map it, on behalf of one.
//!
//! The object gathers its pages in a folio, and nobody maps them then. Whoever has no table in the place gets the huge page by a fault; so
//! the table of who has asked for it goes, with what it shows of the memory, which is nobody's loss.

use super::{LEVEL, Refused, Wish, sizes};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object::{self, Cached, Object};
use crate::phys::{Folio, Pfn, release};
use crate::space::apply::{ClassChange, Fold, PageChange};
use crate::space::claim::Claim;
use crate::space::collapse::{Seen, rejoin};
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

    /// Makes one folio of what the object has where `start` shows it, and lets the space show that; whether something was done.
    #[cold]
    pub(super) fn collapse_shared(&self, start: u64, shared: &Shared<'_, M>, wish: Wish<'_>) -> Result<bool, Refused> {
        let (vm, pages) = (self.vm(), sizes::<M::Arch>().1);
        let (inner, first) = (shared.object.inner(), shared.first);
        match self.inner().look_at_place(&Cx::enter(vm), start) {
            Seen::Huge => return Ok(false),
            Seen::Mixed => return Err(Refused::Mixed),
            Seen::Nothing | Seen::Small(..) => {}
        }
        if !first.is_multiple_of(pages) {
            return Err(Refused::Unwanted);
        }
        let seen = object::look_at_cached(&Cx::enter(vm), inner, first, pages);
        match seen {
            Cached::Single(0) => return Err(Refused::Nothing),
            Cached::Busy => return Err(Refused::Busy),
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
        self.show_whole(start, shared);
        Ok(true)
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

    /// Takes the table away that is at `start`, if it shows the object still and nothing else; or makes one entry of all its own.
    fn show_whole(&self, start: u64, shared: &Shared<'_, M>) {
        let (vm, inner) = (self.vm(), self.inner());
        let mut claim = Claim::acquire_from(vm, inner, (start, start + sizes::<M::Arch>().0), LEVEL);
        let is_its = |attributes: &Attributes<M>| {
            let object = Some(shared.object.inner_pointer());
            !attributes.is_private() && attributes.object == object && attributes.delta == shared.attributes.delta
        };
        let is_still_its = {
            let cx = Cx::enter(vm);
            let is_small = |class| class != ClassId::NONE && is_its(&cx.attributes(class));
            matches!(inner.look_at_place(&cx, start), Seen::Small(class, _) if is_small(class))
        };
        if is_still_its && rejoin(&Cx::enter(vm), inner, start, &is_its).is_err() {
            claim.apply(vm, ClassChange::Keep, PageChange::Zap, Spares::default(), Fold::Below);
        }
        claim.release();
    }
}
