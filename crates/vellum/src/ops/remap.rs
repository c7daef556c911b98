//! Moving and resizing mappings.
//!
//! A move claims both ranges, or their claims ([`crate::space::pair`]). Pages move leaf by leaf, under the locks of
//! both leaves, and the old translations are flushed before those locks go: nobody can unmap or clean a page at its new
//! place while a CPU still reaches it at its old one (B7, B8). The pages keep their names; the class of the new range
//! says how far it was moved. Huge pages move as wholes where the new place is one for them, too.
//!
//! Several mappings move as that many pieces, each as it would alone; so do the parts of one mapping that have a guard
//! and those that have none. All that may fail is done for all of them before the first one moves.

use super::holds::Holds;
use super::pieces::{OneMapping, Piece, Pieces};
use super::range::{aligned, checked, page, rounded, search_end, usable_hint};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::overcommit::Ticket;
use crate::space::apply::{ClassChange, Fold, PageChange};
use crate::space::claim::Claim;
use crate::space::pair::ClaimPair;
use crate::space::shift::Shift;
use crate::space::split::Holes;
use crate::space::{Attributes, ClassFlags, ClassId, Counted, Extent, Space, Spares};
use crate::sync::SleepGuard;
use core::ops::ControlFlow;

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
    /// Moves or resizes what is mapped, as `mremap` does; its new address.
    ///
    /// * What stays in place and does not grow only needs to begin with something mapped; what lies behind the new length
    ///   goes, whatever it is.
    /// * Without a change of length, what goes to a [`RemapPlace::Fixed`] may be several mappings with holes between, if it
    ///   begins with one: holes stay holes, and what is mapped where they come to lie is left alone.
    /// * What is made shorter and goes to a fixed place must be one mapping as far as it goes there. In all other cases the
    ///   whole old range must be one: mapped throughout, with equal attributes; guards do not matter.
    /// * Guards move too. None is in what comes behind the old length, is mapped a second time, or stays at the old place.
    ///
    /// May sleep while another operation works on the old or the new place or, if they lie near each other, on a range
    /// between them; allocates page tables.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::ZeroLength`], [`Error::OutOfRange`], [`Error::TooLow`]; [`Error::NotMapped`] for
    /// a hole, or where the attributes change (`EFAULT` in Linux); [`Error::Exists`] if the mapping cannot grow in
    /// place and may not move (`ENOMEM` in Linux); [`Error::NoAddressSpace`]; [`Error::Invalid`]; [`Error::Limit`];
    /// [`Error::CommitLimit`]; [`Error::OutOfMemory`]. Nothing is changed then.
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
        } else if new_length <= old_length && !keep_old {
            return self.vm().with_room(|| self.shrink(old, old_length, new_length));
        }
        self.check_source(old, old_length, new_length)?;
        self.vm().with_room(|| {
            let _limited = self.may_remap(request, old_length, new_length)?;
            self.remap_once(request, old_length, new_length)
        })
    }

    /// [`Space::may_map`] for what comes: the growth, or all of what stays at the old place too; or nothing, and it
    /// moves.
    fn may_remap(
        &self,
        request: &RemapRequest,
        old_length: u64,
        new_length: u64,
    ) -> Result<Option<SleepGuard<'_, M>>, Error> {
        let RemapRequest { old, place, keep_old, .. } = *request;
        let (more, replaced) = match place {
            RemapPlace::Fixed(new) if keep_old => (new_length, (new, new + new_length)),
            _ if keep_old => (new_length, (0, 0)),
            _ => (new_length.saturating_sub(old_length), (0, 0)),
        };
        self.may_map(more, replaced).or_else(|limit| {
            // What is not there to be moved is noticed first.
            let probe = if keep_old { page::<M::Arch>() } else { old_length.max(page::<M::Arch>()) };
            let class = self.class_of(old, old + probe)?;
            check_copy(&Cx::enter(self.vm()).attributes(class), old_length)?;
            Err(limit)
        })
    }

    /// Moves or grows, until the place that was chosen is still free.
    fn remap_once(&self, request: &RemapRequest, old_length: u64, new_length: u64) -> Result<u64, Error> {
        let RemapRequest { place, keep_old, .. } = *request;
        loop {
            let done = match place {
                RemapPlace::Fixed(new) => self.move_to(request, old_length, new, new_length, false)?,
                _ if keep_old => self.move_anywhere(request, old_length, new_length)?,
                _ => self.resize(request, old_length, new_length)?,
            };
            if let Some(address) = done {
                return Ok(address);
            }
        }
    }

    fn check_target(&self, old: u64, old_length: u64, new: u64, new_length: u64) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(aligned::<M::Arch>("new address", new)?, new_length)?;
        self.check_source(old, old_length, new_length)?;
        if old < end && start < old.saturating_add(old_length) {
            return Err(Error::Invalid { what: "the old and the new range overlap" });
        }
        Ok(())
    }

    /// Refuses an old range that leaves the user range, where nothing is mapped.
    fn check_source(&self, old: u64, old_length: u64, new_length: u64) -> Result<(), Error> {
        let end = M::Arch::USER_END;
        if old < end && old_length <= end - old {
            return Ok(());
        }
        if self.first_mapped(old, page::<M::Arch>()).is_none() {
            return Err(Error::NotMapped { address: old });
        }
        if new_length >= old_length {
            return Err(Error::NotMapped { address: end });
        }
        // What is cut off comes after what is to stay.
        let (start, end) = checked::<M::Arch>(old, new_length)?;
        self.class_of(start, end)?;
        Err(Error::OutOfRange { start: old, length: old_length })
    }

    /// Removes what lies behind the new length, if something is mapped at the beginning.
    fn shrink(&self, old: u64, old_length: u64, new_length: u64) -> Result<u64, Error> {
        let is_mapped = || self.first_mapped(old, page::<M::Arch>()).is_some();
        if !is_mapped() {
            return Err(Error::NotMapped { address: old });
        }
        if new_length == old_length {
            return Ok(old);
        }
        let (_, end) = checked::<M::Arch>(old, old_length)?;
        let mut claim = Claim::acquire(self.vm(), self.inner(), old, end);
        let result = match is_mapped() {
            true => self.unmap_part(&claim, old + new_length, end),
            false => Err(Error::NotMapped { address: old }),
        };
        claim.fold_now(&Cx::enter(self.vm()));
        claim.release();
        self.inner().note_unmapped(&Cx::enter(self.vm()), old + new_length, end);
        result.map(|()| old)
    }

    /// Grows in place, or moves. `None`: try again.
    fn resize(&self, request: &RemapRequest, old_length: u64, new_length: u64) -> Result<Option<u64>, Error> {
        let old = request.old;
        match self.grow(old, old_length, new_length) {
            Err(Error::Exists { .. } | Error::OutOfRange { .. }) if request.place != RemapPlace::InPlace => {
                self.move_anywhere(request, old_length, new_length)
            }
            Err(error) => Err(error),
            Ok(()) => Ok(Some(old)),
        }
    }

    /// The class at the beginning of the claimed range, which is one mapping.
    fn class_of(&self, start: u64, end: u64) -> Result<ClassId, Error> {
        let (class, one_end) = self.one_mapping(start, end);
        if one_end < end { Err(Error::NotMapped { address: one_end.max(start) }) } else { Ok(class) }
    }

    /// What is mapped at `start`, and up to where, at most `end`, it is one mapping; up to `start` if it is nothing.
    pub(super) fn one_mapping(&self, start: u64, end: u64) -> (ClassId, u64) {
        self.run(start, end, |cx, one, next| cx.is_one_mapping(one, next))
    }

    /// What is mapped at `start`, and up to where, at most `end`, the classes go with that; up to `start` if it is
    /// nothing.
    fn run(&self, start: u64, end: u64, go_on: impl Fn(&Cx<'_, M>, ClassId, ClassId) -> bool) -> (ClassId, u64) {
        let mut class = ClassId::NONE;
        let run = self.inner().each_span(self.vm(), (start, end), &mut |cx, here, span| {
            if span.class == ClassId::NONE || (here > start && !go_on(cx, class, span.class)) {
                return ControlFlow::Break(here);
            }
            class = if here == start { span.class } else { class };
            ControlFlow::Continue(())
        });
        (class, run.break_value().unwrap_or(end))
    }

    /// Extends the mapping behind its end. What is mapped a second time, by an old length of 0, has its end behind
    /// itself.
    fn grow(&self, old: u64, old_length: u64, new_length: u64) -> Result<(), Error> {
        let probe = old_length.max(page::<M::Arch>());
        let end = old.saturating_add(new_length).min(M::Arch::USER_END);
        let mut claim = Claim::acquire(self.vm(), self.inner(), old, end);
        let result = self.class_of(old, old + probe).and_then(|class| {
            let attributes = Cx::enter(self.vm()).attributes(class).unguarded();
            check_copy(&attributes, old_length)?;
            check_offset(&attributes, old, new_length)?;
            checked::<M::Arch>(old, new_length)?;
            if let Some(address) = self.first_mapped(old + old_length, new_length - old_length) {
                return Err(Error::Exists { address });
            }
            if attributes.flags.has(ClassFlags::GROWS_DOWN) {
                self.inner().note_stack(old, end);
            }
            Cx::enter(self.vm()).intern(&attributes, Extent::of::<M::Arch>(old, end))
        });
        let result = result.and_then(|class| {
            let grown = self.map_part(&claim, old + old_length, end, class);
            Cx::enter(self.vm()).release_class(class, 1);
            grown
        });
        claim.fold_now(&Cx::enter(self.vm()));
        claim.release();
        result
    }

    /// Maps `start..end`, a free part of what is claimed, as `class`, which the caller holds, if that may be committed.
    pub(super) fn map_part(&self, claim: &Claim<'_, M>, start: u64, end: u64, class: ClassId) -> Result<(), Error> {
        let _ticket = self.may_extend(class, (end - start) >> M::Arch::PAGE_SHIFT)?;
        let mut part = claim.part(start, end);
        let spares = part.split(self.vm(), Holes::Cut);
        let spares = spares.inspect_err(|_| part.tidy_part(&Cx::enter(self.vm())))?;
        part.apply(self.vm(), ClassChange::Set(class), PageChange::Keep, spares, Fold::Below);
        claim.join(part);
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
        let hint = if let RemapPlace::Hint(hint) = request.place { hint } else { 0 };
        let new = self.find_room_below(new_length, search_end::<M::Arch>(hint))?;
        let moved = self.move_to(request, old_length, new, new_length, true)?;
        if moved.is_some() {
            self.inner().note_mapped(&Cx::enter(self.vm()), new, new + new_length);
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
        let claims = if M::guard(Guard::MoveUnderClaim) {
            let (old, new) = ((request.old, request.old + probe), (new, new + new_length));
            ClaimPair::acquire(self.vm(), self.inner(), old, new)
        } else {
            ClaimPair::acquire_one(self.vm(), self.inner(), new, new + new_length)
        };
        // Free, and no stack too close above: one may have grown since.
        let is_room = || self.inner().is_free(self.vm(), new, new_length);
        let result = if must_be_free && !is_room() {
            Ok(None)
        } else {
            self.move_claimed(&claims, request, old_length, new, new_length).map(|()| Some(new))
        };
        claims.end();
        if result.is_ok() && !request.keep_old && old_length > 0 {
            self.inner().note_unmapped(&Cx::enter(self.vm()), request.old, request.old + old_length);
        }
        result
    }

    /// Moves, with both ranges claimed.
    fn move_claimed(
        &self,
        claims: &ClaimPair<'_, M>,
        request: &RemapRequest,
        old_length: u64,
        new: u64,
        new_length: u64,
    ) -> Result<(), Error> {
        let mut holds = Holds::new();
        let mut pieces = Pieces::new();
        let result = self.cut_up(&mut pieces, &mut holds, request, old_length, new, new_length);
        let ticket = result.and_then(|()| self.may_move_pieces(&mut pieces));
        let result = ticket.and_then(|_ticket| {
            let result = self.prepare_and_move(claims, &mut pieces);
            let places = [(new, new + new_length), (request.old, request.old + old_length)];
            self.fold_places(claims, places);
            if result.is_err() {
                let cut = places.into_iter().filter(|(start, end)| start < end);
                cut.for_each(|(start, end)| {
                    let part = claims.part(start, end);
                    part.rejoin_all(self.vm());
                    claims.join(part);
                });
            }
            result
        });
        pieces.free(self.vm());
        holds.release(self.vm());
        result
    }

    /// Does all that may fail for all pieces, then moves them.
    fn prepare_and_move(&self, claims: &ClaimPair<'_, M>, pieces: &mut Pieces<M>) -> Result<(), Error> {
        let mut pool = Spares::pool();
        let mut counted = Default::default();
        let result = pieces.try_each(|piece| self.prepare_piece(claims, piece, &mut pool, &mut counted));
        if result.is_ok() {
            pieces.each_mapping(|mapping| self.move_mapping(claims, mapping, &mut pool));
        }
        pool.free_pool(self.vm());
        result
    }

    /// Finds what there is to move, and holds the classes that it will have.
    fn cut_up(
        &self,
        pieces: &mut Pieces<M>,
        holds: &mut Holds<M>,
        request: &RemapRequest,
        old_length: u64,
        new: u64,
        new_length: u64,
    ) -> Result<(), Error> {
        let old = request.old;
        let may_be_several = matches!(request.place, RemapPlace::Fixed(_)) && old_length == new_length;
        if !may_be_several {
            let class = self.class_of(old, old + old_length.min(new_length).max(page::<M::Arch>()))?;
            self.add_mapping(pieces, holds, request, class, (old, old_length), (new, new_length))?;
            return check_low::<M>(new);
        }
        let (mut here, end) = (old, old + old_length);
        while let Some(start) = self.first_mapped(here, end - here) {
            if here == old && start > old {
                break;
            }
            let (class, mapping_end) = self.one_mapping(start, end);
            let length = mapping_end - start;
            self.add_mapping(pieces, holds, request, class, (start, length), (new + (start - old), length))?;
            here = mapping_end;
        }
        if here == old { Err(Error::NotMapped { address: old }) } else { check_low::<M>(new) }
    }

    /// Adds the pieces of a mapping of `class`, from one place and length to another.
    fn add_mapping(
        &self,
        pieces: &mut Pieces<M>,
        holds: &mut Holds<M>,
        request: &RemapRequest,
        class: ClassId,
        (old, old_length): (u64, u64),
        (new, new_length): (u64, u64),
    ) -> Result<(), Error> {
        {
            let attributes = Cx::enter(self.vm()).attributes(class);
            check_copy(&attributes, old_length)?;
            check_offset(&attributes, old, new_length)?;
            if attributes.flags.has(ClassFlags::GROWS_DOWN) {
                self.inner().note_stack(new, new + new_length);
            }
        }
        pieces.begin_mapping();
        let (mut done, end) = (0, old_length.min(new_length));
        while done < end {
            let (class, run_end) = self.run(old + done, old + end, |_, class, next| class == next);
            if class == ClassId::NONE {
                return Err(Error::NotMapped { address: old + done });
            }
            let (run, is_last) = (run_end - (old + done), run_end == old + end);
            let is_guarded = Cx::enter(self.vm()).attributes(class).is_guarded();
            // The last one takes with it what is cut off, and what comes behind, unless that would be in a guard.
            let goes = if is_last { old_length - done } else { run };
            let comes = if is_last && !is_guarded { new_length - done } else { run };
            self.add_piece(pieces, holds, request, class, (old + done, goes), (new + done, comes))?;
            done += comes;
        }
        if done < new_length {
            self.add_piece(pieces, holds, request, class, (old + done, 0), (new + done, new_length - done))?;
        }
        Ok(())
    }

    /// Adds a piece of `class`, from one place and length to another, and holds the classes that it will have. What has
    /// no old place has no guard.
    fn add_piece(
        &self,
        pieces: &mut Pieces<M>,
        holds: &mut Holds<M>,
        request: &RemapRequest,
        class: ClassId,
        (old, old_length): (u64, u64),
        (new, new_length): (u64, u64),
    ) -> Result<(), Error> {
        let cx = Cx::enter(self.vm());
        let attributes = cx.attributes(class);
        let attributes = if old_length > 0 { attributes } else { attributes.unguarded() };
        let distance = (new >> M::Arch::PAGE_SHIFT).wrapping_sub(old >> M::Arch::PAGE_SHIFT);
        let comes = Extent::of::<M::Arch>(new, new + new_length);
        let mut hold = |attributes: Attributes<M>, extent| {
            let class = cx.intern(&attributes.within(self.inner()), extent)?;
            holds.add(&cx, class).map(|()| class)
        };
        let delta = attributes.delta.wrapping_add(distance);
        let new_class = hold(Attributes { delta, ..attributes }, comes)?;
        let is_anonymous = attributes.object.is_none();
        let fresh_class = if is_anonymous { hold(Attributes { delta: 0, ..attributes }, comes)? } else { new_class };
        let old_class =
            if request.keep_old { hold(attributes.unguarded(), cx.extent_of(class))? } else { ClassId::NONE };
        let shift = Shift { old, new, length: old_length.min(new_length), old_class, new_class };
        pieces.push(&cx, Piece::new(shift, fresh_class, old_length, new_length))
    }

    /// Lets the caller commit what the pieces are longer at their new places, or all of it if the old ones stay, less
    /// what is replaced there, until the result is dropped; and move them.
    fn may_move_pieces(&self, pieces: &mut Pieces<M>) -> Result<Ticket<'vm, M>, Error> {
        let (mut more, mut moved) = (0, 0);
        pieces.each(|piece| {
            if Cx::enter(self.vm()).is_committed(piece.shift.new_class) {
                let stays = if piece.shift.old_class == ClassId::NONE { piece.shift.length } else { 0 };
                more += (piece.new_length - stays) >> M::Arch::PAGE_SHIFT;
                moved += stays >> M::Arch::PAGE_SHIFT;
            }
        });
        let replaced = || {
            let mut pages = 0;
            pieces.each(|Piece { shift, new_length, .. }| {
                pages += self.committed_within(shift.new, shift.new + *new_length, ClassFlags::NONE);
            });
            pages
        };
        let mut ticket = self.vm().may_commit(more, replaced)?;
        ticket.join(self.vm().may_move(moved));
        Ok(ticket)
    }

    /// Cuts both places of a piece at their edges, sees to side arrays for the tables there, and makes the tables that
    /// its pages will need. What is cut off at the old place has an edge where it begins.
    fn prepare_piece(
        &self,
        claims: &ClaimPair<'_, M>,
        piece: &Piece,
        pool: &mut Spares,
        [coming, leaving]: &mut [Counted; 2],
    ) -> Result<(), Error> {
        let (vm, shift) = (self.vm(), &piece.shift);
        let (target, source) = self.places(claims, piece);
        target.cut(vm, Holes::Cut)?;
        target.reserve_in(vm, pool, coming)?;
        if let Some(source) = source {
            source.cut(vm, Holes::Cut)?;
            let cut_off = shift.old + shift.length;
            claims.part(shift.old, cut_off).reserve_in(vm, pool, leaving)?;
            if cut_off < source.end {
                claims.part(cut_off, source.end).reserve_in(vm, pool, leaving)?;
            }
            source.freeze_tables();
            if shift.keeps(1 << M::Arch::shift(1)) && M::guard(Guard::NewPlaceFrozen) {
                target.freeze_tables();
            }
            self.inner().make_tables(vm, shift)?;
        }
        Ok(())
    }

    /// Clears the new place of a mapping, and moves it. It stays one: none of its pieces says how far it was moved, or
    /// all do. Cannot fail.
    fn move_mapping(&self, claims: &ClaimPair<'_, M>, mapping: &mut OneMapping<'_>, pool: &mut Spares) {
        let mut is_vacant = true;
        mapping.each(|piece| {
            let (mut target, _) = self.places(claims, piece);
            target.apply_with(self.vm(), ClassChange::Set(ClassId::NONE), PageChange::Zap, pool, Fold::Nothing);
            claims.join(target);
            let shift = &piece.shift;
            is_vacant &= piece.fresh_class != shift.new_class;
            is_vacant = is_vacant && self.inner().vacate(self.vm(), shift, pool);
        });
        mapping.each(|piece| self.move_piece(claims, piece, is_vacant, pool));
    }

    /// Moves a piece, unless no page is there, to its place, which is clear; and removes what is left at the old one.
    fn move_piece(&self, claims: &ClaimPair<'_, M>, piece: &Piece, is_vacant: bool, pool: &mut Spares) {
        let (vm, mut shift) = (self.vm(), piece.shift);
        let (mut target, source) = self.places(claims, piece);
        if is_vacant {
            shift.new_class = piece.fresh_class;
        } else if source.is_some() {
            self.inner().shift_pages(vm, &shift, pool);
        }
        target.apply_with(vm, ClassChange::Set(shift.new_class), PageChange::Keep, pool, Fold::Nothing);
        if let Some(mut source) = source {
            let pages = if shift.old_class == ClassId::NONE { PageChange::Zap } else { PageChange::Keep };
            source.apply_with(vm, ClassChange::Set(shift.old_class), pages, pool, Fold::Nothing);
            claims.join(source);
        }
        claims.join(target);
    }

    /// Gives back what is empty at the new and at the old place, whether all has moved or not. Not before: a table that
    /// is empty yet may have been made for a piece that comes later, or to divide a new place from an old one whose
    /// class is still the same.
    fn fold_places(&self, claims: &ClaimPair<'_, M>, places: [(u64, u64); 2]) {
        for (start, end) in places.into_iter().filter(|(start, end)| start < end) {
            let mut place = claims.part(start, end);
            place.apply(self.vm(), ClassChange::Keep, PageChange::Keep, Spares::default(), Fold::Below);
            claims.join(place);
        }
    }

    /// The new place of a piece, and the old one. What is mapped a second time has no old place: no edges, and no
    /// pages.
    fn places<'c>(&self, claims: &ClaimPair<'c, M>, piece: &Piece) -> (Claim<'c, M>, Option<Claim<'c, M>>) {
        let Shift { old, new, .. } = piece.shift;
        let source = (piece.old_length > 0).then(|| claims.part(old, old + piece.old_length));
        (claims.part(new, new + piece.new_length), source)
    }
}

/// Whether a mapping of these attributes can be mapped a second time, if it is to.
fn check_copy<M: Machine>(attributes: &Attributes<M>, old_length: u64) -> Result<(), Error> {
    if old_length == 0 && attributes.is_private() {
        return Err(Error::Invalid { what: "only a shared mapping can be mapped a second time" });
    }
    Ok(())
}

/// Whether offsets in the object stay representable when the mapping at `start` has `length` bytes.
fn check_offset<M: Machine>(attributes: &Attributes<M>, start: u64, length: u64) -> Result<(), Error> {
    let offset = (start >> M::Arch::PAGE_SHIFT).wrapping_sub(attributes.delta);
    let pages = length >> M::Arch::PAGE_SHIFT;
    let limit = (i64::MAX as u64) >> M::Arch::PAGE_SHIFT;
    if attributes.object.is_some() && offset.checked_add(pages).is_none_or(|end| end > limit) {
        return Err(Error::Invalid { what: "the mapping reaches beyond the largest offset" });
    }
    Ok(())
}

fn check_low<M: Machine>(new: u64) -> Result<(), Error> {
    if new < M::Arch::USER_START { Err(Error::TooLow { address: new }) } else { Ok(()) }
}
