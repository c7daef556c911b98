//! Moving and resizing mappings.
//!
//! A move claims the hull of both ranges. Pages move leaf by leaf, under the locks of both leaves, and the old
//! translations are flushed before those locks go: nobody can unmap or clean a page at its new place while a CPU still
//! reaches it at its old one (B7, B8). The pages keep their names; the class of the new range says how far it was
//! moved.

use super::holds::Holds;
use super::range::{aligned, checked, page, rounded, usable_hint};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::space::apply::{ClassChange, Fold, PageChange};
use crate::space::claim::Claim;
use crate::space::shift::Shift;
use crate::space::split::Holes;
use crate::space::{Attributes, ClassFlags, ClassId, Space, Spares};

/// Where a remapped range may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemapPlace {
    /// It stays where it is, or the call fails.
    InPlace,
    /// It stays if it can, else it moves (`MREMAP_MAYMOVE`).
    MayMove,
    /// As `MayMove`; if it moves, to this address, rounded down to a page, if there is room.
    Hint(u64),
    /// It moves exactly there, replacing what is mapped (`MREMAP_FIXED`).
    Fixed(u64),
}

/// A range to be moved or resized; see [`Space::remap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemapRequest {
    /// First address; page-aligned.
    pub old: u64,
    /// Length in bytes, rounded up to pages. Zero, for a shared mapping, makes a second mapping of its object.
    pub old_length: u64,
    /// New length in bytes, rounded up to pages; not zero.
    pub new_length: u64,
    /// Where it may go.
    pub place: RemapPlace,
    /// Move the pages and leave the old mapping in place, empty (`MREMAP_DONTUNMAP`); the lengths are equal then, and
    /// the mapping moves.
    pub keep_old: bool,
}

impl<'vm, M: Machine> Space<'vm, M> {
    /// Moves or resizes a mapping, as `mremap` does; its new address.
    ///
    /// The old range must be mapped throughout with equal attributes. May sleep while another operation works on a
    /// range between the old and the new place; allocates page tables.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::ZeroLength`], [`Error::OutOfRange`], [`Error::TooLow`]; [`Error::NotMapped`] for
    /// a hole, or where the attributes change (`EFAULT` in Linux); [`Error::Exists`] if the mapping cannot grow in
    /// place and may not move (`ENOMEM` in Linux); [`Error::NoAddressSpace`]; [`Error::Invalid`];
    /// [`Error::OutOfMemory`]. Nothing is changed then.
    pub fn remap(&self, request: &RemapRequest) -> Result<u64, Error> {
        let RemapRequest { old, place, keep_old, .. } = *request;
        aligned::<M::Arch>("address", old)?;
        if request.new_length == 0 {
            return Err(Error::ZeroLength { what: "new range" });
        }
        let old_length = rounded::<M::Arch>(old, request.old_length)?;
        let new_length = rounded::<M::Arch>(old, request.new_length)?;
        if keep_old && (old_length != new_length || place == RemapPlace::InPlace) {
            return Err(Error::Invalid { what: "keeping the old mapping needs equal lengths and a move" });
        }
        if let RemapPlace::Fixed(new) = place {
            self.check_target(old, old_length, new, new_length)?;
        }
        let probe = if old_length == 0 { page::<M::Arch>() } else { old_length };
        checked::<M::Arch>(old, probe)?;
        self.vm().with_room(|| self.remap_once(request, old_length, new_length))
    }

    /// Moves or resizes, until the place that was chosen is still free.
    fn remap_once(&self, request: &RemapRequest, old_length: u64, new_length: u64) -> Result<u64, Error> {
        let RemapRequest { place, keep_old, .. } = *request;
        loop {
            let done = match place {
                RemapPlace::Fixed(new) => self.move_to(request, old_length, new, new_length, false)?,
                _ if keep_old || old_length == 0 => self.move_anywhere(request, old_length, new_length)?,
                _ => self.resize(request, old_length, new_length)?,
            };
            if let Some(address) = done {
                return Ok(address);
            }
        }
    }

    fn check_target(&self, old: u64, old_length: u64, new: u64, new_length: u64) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(aligned::<M::Arch>("new address", new)?, new_length)?;
        if start < M::Arch::USER_START {
            return Err(Error::TooLow { address: new });
        }
        if old < end && start < old.saturating_add(old_length) {
            return Err(Error::Invalid { what: "the old and the new range overlap" });
        }
        Ok(())
    }

    /// Shrinks, grows in place, or moves. `None`: try again.
    fn resize(&self, request: &RemapRequest, old_length: u64, new_length: u64) -> Result<Option<u64>, Error> {
        let old = request.old;
        if new_length <= old_length {
            self.check_whole(old, old_length)?;
            if new_length < old_length {
                self.unmap(old + new_length, old_length - new_length)?;
            }
            return Ok(Some(old));
        }
        match self.grow(old, old_length, new_length) {
            Err(Error::Exists { .. } | Error::OutOfRange { .. }) if request.place != RemapPlace::InPlace => {
                self.move_anywhere(request, old_length, new_length)
            }
            Err(error) => Err(error),
            Ok(()) => Ok(Some(old)),
        }
    }

    /// Checks under a claim that the range is of one class.
    fn check_whole(&self, start: u64, length: u64) -> Result<(), Error> {
        let claim = Claim::acquire(self.vm(), self.inner(), start, start + length);
        let class = self.class_of(start, start + length);
        claim.release();
        class.map(|_| ())
    }

    /// The one class of the claimed range.
    fn class_of(&self, start: u64, end: u64) -> Result<ClassId, Error> {
        let mut class = ClassId::NONE;
        let mut here = start;
        while here < end {
            let span = self.inner().span_at(&Cx::enter(self.vm()), here, end);
            if span.class == ClassId::NONE || (here > start && span.class != class) {
                return Err(Error::NotMapped { address: here });
            }
            (class, here) = (span.class, span.end);
        }
        Ok(class)
    }

    /// Extends the mapping behind its end.
    fn grow(&self, old: u64, old_length: u64, new_length: u64) -> Result<(), Error> {
        let (_, end) = checked::<M::Arch>(old, new_length)?;
        let mut claim = Claim::acquire(self.vm(), self.inner(), old, end);
        let result = self.class_of(old, old + old_length).and_then(|class| {
            let taken = self.inner().first_mapped(&Cx::enter(self.vm()), old + old_length, end);
            match taken {
                Some(address) => Err(Error::Exists { address }),
                None => self.check_offset(&Cx::enter(self.vm()), class, old, new_length).map(|()| class),
            }
        });
        let result = result.and_then(|class| match claim.split(self.vm(), Holes::Cut) {
            Ok(spares) => {
                // The old part has this class already.
                claim.apply(self.vm(), ClassChange::Set(class), PageChange::Keep, spares, Fold::Whole);
                Ok(())
            }
            Err(error) => {
                claim.tidy(&Cx::enter(self.vm()));
                Err(error)
            }
        });
        claim.release();
        result
    }

    /// Whether offsets in the object stay representable when the mapping at `start` has `length` bytes.
    fn check_offset(&self, cx: &Cx<'_, M>, class: ClassId, start: u64, length: u64) -> Result<(), Error> {
        let attributes = cx.attributes(class);
        let offset = (start >> M::Arch::PAGE_SHIFT).wrapping_sub(attributes.delta);
        let pages = length >> M::Arch::PAGE_SHIFT;
        let limit = (i64::MAX as u64) >> M::Arch::PAGE_SHIFT;
        if attributes.object.is_some() && offset.checked_add(pages).is_none_or(|end| end > limit) {
            return Err(Error::Invalid { what: "the mapping reaches beyond the largest offset" });
        }
        Ok(())
    }

    /// Moves to wherever there is room. `None`: the room was taken meanwhile.
    fn move_anywhere(&self, request: &RemapRequest, old_length: u64, new_length: u64) -> Result<Option<u64>, Error> {
        if let RemapPlace::Hint(hint) = request.place
            && let Some(new) = usable_hint::<M::Arch>(hint, new_length)
            && let Some(address) = self.move_to(request, old_length, new, new_length, true)?
        {
            return Ok(Some(address));
        }
        let new = self.find_room(new_length)?;
        let moved = self.move_to(request, old_length, new, new_length, true)?;
        if moved.is_some() {
            self.inner().note_mapped(&Cx::enter(self.vm()), new + new_length);
        }
        Ok(moved)
    }

    /// Moves to `new`; `None` if there must be room for it and is none.
    pub(super) fn move_to(
        &self,
        request: &RemapRequest,
        old_length: u64,
        new: u64,
        new_length: u64,
        must_be_free: bool,
    ) -> Result<Option<u64>, Error> {
        let probe = old_length.max(page::<M::Arch>());
        let (low, high) = if M::guard(Guard::MoveUnderClaim) {
            (request.old.min(new), (request.old + probe).max(new + new_length))
        } else {
            (new, new + new_length)
        };
        let mut claim = Claim::acquire(self.vm(), self.inner(), low, high);
        // Free, and no stack too close above: one may have grown since.
        let is_room = || self.inner().gap(&Cx::enter(self.vm()), new_length, new, new + new_length) == Some(new);
        let result = if must_be_free && !is_room() {
            Ok(None)
        } else {
            self.move_claimed(&mut claim, request, old_length, new, new_length).map(Some)
        };
        claim.release();
        if result.is_ok() && !request.keep_old {
            self.inner().note_unmapped(&Cx::enter(self.vm()), request.old);
        }
        result
    }

    /// Moves, with the hull of both ranges claimed.
    fn move_claimed(
        &self,
        hull: &mut Claim<'_, M>,
        request: &RemapRequest,
        old_length: u64,
        new: u64,
        new_length: u64,
    ) -> Result<u64, Error> {
        let old = request.old;
        let class = self.class_of(old, old + old_length.max(page::<M::Arch>()))?;
        let mut holds = Holds::new();
        let result = self.hold_moved(&mut holds, class, request, old_length, new, new_length).and_then(|moved| {
            let old_class = if request.keep_old { class } else { ClassId::NONE };
            let shift = Shift { old, new, length: old_length.min(new_length), old_class, new_class: moved };
            self.shift_parts(hull, &shift, old_length, new_length)
        });
        if result.is_err() {
            hull.tidy(&Cx::enter(self.vm()));
        }
        holds.release(&Cx::enter(self.vm()));
        result.map(|()| new)
    }

    /// Prepares both ranges, clears the target, moves, and removes what is left of the source.
    fn shift_parts(
        &self,
        hull: &mut Claim<'_, M>,
        shift: &Shift,
        old_length: u64,
        new_length: u64,
    ) -> Result<(), Error> {
        let vm = self.vm();
        let mut target = hull.part(shift.new, shift.new + new_length);
        // An empty source, of a mapping that is made a second time, has no edges and no pages.
        let mut source = (old_length > 0).then(|| hull.part(shift.old, shift.old + old_length));
        let mut spares = [const { None }; 4];
        let prepared = self.prepare_shift(&target, source.as_ref(), shift, &mut spares);
        let [first, second, third, fourth] = spares.map(Option::unwrap_or_default);
        if let Err(error) = prepared {
            let cx = Cx::enter(vm);
            [first, second, third, fourth].iter_mut().for_each(|spares| spares.free(&cx));
            target.tidy_part(&cx);
            source.inspect(|source| source.tidy_part(&cx));
            return Err(error);
        }
        target.apply(vm, ClassChange::Set(ClassId::NONE), PageChange::Zap, first, Fold::Nothing);
        let (mut moving, mut moving_target) = (third, second);
        if source.is_some() {
            self.inner().shift_pages(vm, shift, &mut moving, &mut moving_target);
        }
        target.apply(vm, ClassChange::Set(shift.new_class), PageChange::Keep, moving_target, Fold::Below);
        if let Some(source) = &mut source {
            let (classes, pages) = match shift.old_class == ClassId::NONE {
                true => (ClassChange::Set(ClassId::NONE), PageChange::Zap),
                false => (ClassChange::Keep, PageChange::Keep),
            };
            source.apply(vm, classes, pages, fourth, Fold::Below);
        }
        hull.join(target);
        if let Some(source) = source {
            hull.join(source);
        }
        let cx = Cx::enter(vm);
        moving.free(&cx);
        hull.fold_now(&cx);
        Ok(())
    }

    /// Cuts both ranges at their edges, and makes the leaves that the pages will need.
    fn prepare_shift(
        &self,
        target: &Claim<'_, M>,
        source: Option<&Claim<'_, M>>,
        shift: &Shift,
        spares: &mut [Option<Spares>; 4],
    ) -> Result<(), Error> {
        let vm = self.vm();
        let mut edges = target.split(vm, Holes::Cut)?;
        edges.free(&Cx::enter(vm));
        spares[0] = Some(target.reserve_fully(vm)?);
        spares[1] = Some(target.reserve_fully(vm)?);
        if let Some(source) = source {
            let mut edges = source.split(vm, Holes::Cut)?;
            edges.free(&Cx::enter(vm));
            spares[2] = Some(source.reserve_fully(vm)?);
            spares[3] = Some(source.reserve_fully(vm)?);
            source.settle();
            self.inner().make_leaves(vm, shift)?;
        }
        Ok(())
    }

    /// Holds the class of the range at its new place.
    fn hold_moved(
        &self,
        holds: &mut Holds<M>,
        class: ClassId,
        request: &RemapRequest,
        old_length: u64,
        new: u64,
        new_length: u64,
    ) -> Result<ClassId, Error> {
        let cx = Cx::enter(self.vm());
        let attributes = cx.attributes(class);
        if old_length == 0 && attributes.is_private() {
            return Err(Error::Invalid { what: "only a shared mapping can be mapped a second time" });
        }
        self.check_offset(&cx, class, request.old, new_length)?;
        let distance = (new >> M::Arch::PAGE_SHIFT).wrapping_sub(request.old >> M::Arch::PAGE_SHIFT);
        if attributes.flags.has(ClassFlags::GROWS_DOWN) {
            self.inner().note_stack(new, new + new_length);
        }
        let delta = attributes.delta.wrapping_add(distance);
        let flags = if request.keep_old { attributes.flags.without(ClassFlags::GROWS_DOWN) } else { attributes.flags };
        let moved = cx.intern(&Attributes { delta, flags, ..attributes }.within(self.inner()))?;
        holds.add(&cx, moved)?;
        Ok(moved)
    }
}
