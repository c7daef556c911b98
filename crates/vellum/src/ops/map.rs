//! Mapping memory.

use super::range::{aligned, mappable, rounded, search_end, usable_hint};
use crate::arch::{Arch, Prot, flag_set};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::{self, Object};
use crate::ops::Access;
use crate::overcommit::Ticket;
use crate::phys::Policy;
use crate::space::apply::{ClassChange, Fold, PageChange};
use crate::space::claim::Claim;
use crate::space::leaf::may_fit_in_leaf;
use crate::space::split::Holes;
use crate::space::{Attributes, ClassFlags, ClassId, Extent, Space};
use crate::sync::SleepGuard;

/// Where a mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Wherever there is room below [`Arch::SEARCH_END`].
    Anywhere,
    /// At this address, rounded down to a page, if there is room; else anywhere, above [`Arch::SEARCH_END`] too if
    /// the address is.
    Hint(u64),
    /// Exactly there, replacing what is mapped (`MAP_FIXED`).
    Fixed(u64),
    /// Exactly there, or not at all (`MAP_FIXED_NOREPLACE`).
    FixedNoReplace(u64),
}

/// Who sees stores to a mapping of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Only the space: a page is copied when it is first stored to.
    Private,
    /// Everybody who maps the object.
    Shared,
}

/// What a mapping shows.
#[derive(Debug)]
pub enum Source<'a, 'vm, M: Machine> {
    /// Private memory that reads as zero at first.
    Anonymous,
    /// Memory shared with future children, that reads as zero at first.
    SharedAnonymous,
    /// An object from `offset` bytes on, a multiple of the page size.
    Object {
        /// The object.
        object: &'a Object<'vm, M>,
        /// Where in it the mapping begins.
        offset: u64,
        /// Who sees stores.
        sharing: Sharing,
    },
}

impl<M: Machine> Clone for Source<'_, '_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for Source<'_, '_, M> {}

flag_set! {
    /// Further properties of a new mapping.
    MapFlags: u8 {
        /// Extends downwards by faults below it (`MAP_GROWSDOWN`); private anonymous memory only.
        GROWS_DOWN = 1;
        /// No memory is reserved for it (`MAP_NORESERVE`).
        NO_RESERVE = 2;
        /// Fault all of it in at once (`MAP_POPULATE`); a failure of that is not reported.
        POPULATE = 4;
        /// Accesses are checked against memory tags (`PROT_MTE`); private anonymous memory only.
        TAGGED = 8;
        /// It gets no huge pages, as if it was advised [`NoHugePage`](super::Advice::NoHugePage) (what Linux makes of
        /// `MAP_STACK`).
        NO_HUGE_PAGES = 16;
    }
}

/// A mapping to be made; see [`Space::map`].
#[derive(Debug)]
pub struct MapRequest<'a, 'vm, M: Machine> {
    /// Length in bytes, rounded up to pages; not zero.
    pub length: u64,
    /// Access rights.
    pub prot: Prot,
    /// The most that [`Space::protect`] may grant later; for a file what it was opened for.
    pub max_prot: Prot,
    /// Where it goes.
    pub place: Place,
    /// What it shows.
    pub source: Source<'a, 'vm, M>,
    /// Further properties.
    pub flags: MapFlags,
    /// From which node its private memory comes.
    pub policy: Policy,
}

impl<M: Machine> Clone for MapRequest<'_, '_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for MapRequest<'_, '_, M> {}

impl<'a, 'vm, M: Machine> MapRequest<'a, 'vm, M> {
    fn new(length: u64, prot: Prot, source: Source<'a, 'vm, M>) -> Self {
        MapRequest {
            length,
            prot,
            max_prot: Prot(7),
            place: Place::Anywhere,
            source,
            flags: MapFlags::NONE,
            policy: Policy::Local,
        }
    }

    /// Private memory, anywhere.
    pub fn anonymous(length: u64, prot: Prot) -> Self {
        Self::new(length, prot, Source::Anonymous)
    }

    /// Memory shared with future children, anywhere.
    pub fn shared(length: u64, prot: Prot) -> Self {
        Self::new(length, prot, Source::SharedAnonymous)
    }

    /// An object from `offset` bytes on, anywhere.
    pub fn object(object: &'a Object<'vm, M>, offset: u64, sharing: Sharing, length: u64, prot: Prot) -> Self {
        Self::new(length, prot, Source::Object { object, offset, sharing })
    }

    /// The same at another place.
    pub fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// The same with `flags` besides.
    pub fn with(mut self, flags: MapFlags) -> Self {
        self.flags = self.flags | flags;
        self
    }

    /// The same with its private memory from where `policy` says.
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Whether the mapping can have memory tags, if it is to.
    fn check_tags(&self) -> Result<(), Error> {
        if !self.flags.has(MapFlags::TAGGED) {
            return Ok(());
        }
        if M::Arch::semantics().tags.is_none() {
            return Err(Error::Invalid { what: "the processor has no memory tags" });
        }
        match self.source {
            Source::Anonymous => Ok(()),
            _ => Err(Error::Invalid { what: "only private anonymous memory can have memory tags" }),
        }
    }

    /// What the mapping's slots will say, but for its object and the difference of addresses and offsets; and the
    /// offset in pages.
    fn attributes(&self, reserves_always: bool) -> Result<(Attributes<M>, u64), Error> {
        if self.prot.without(self.max_prot) != Prot::NONE {
            return Err(Error::AccessDenied { address: 0 });
        }
        let (offset, is_shared) = match self.source {
            Source::Anonymous => (0, false),
            Source::SharedAnonymous => (0, true),
            Source::Object { offset, sharing, .. } => {
                (aligned::<M::Arch>("offset", offset)?, sharing == Sharing::Shared)
            }
        };
        if self.flags.has(MapFlags::GROWS_DOWN) && !matches!(self.source, Source::Anonymous) {
            return Err(Error::Invalid { what: "only private anonymous memory can grow down" });
        }
        self.check_tags()?;
        // Private memory shows no offsets: however long it is, what is missing is room.
        let has_offsets = !matches!(self.source, Source::Anonymous);
        if has_offsets && offset.checked_add(self.length).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Error::Invalid { what: "the mapping reaches beyond the largest offset" });
        }
        let flag = |on: bool, flag: ClassFlags| if on { flag } else { ClassFlags::NONE };
        let flags = flag(self.flags.has(MapFlags::GROWS_DOWN), ClassFlags::GROWS_DOWN)
            | flag(self.flags.has(MapFlags::NO_RESERVE) && !reserves_always, ClassFlags::NO_RESERVE)
            | flag(is_shared, ClassFlags::SHARED)
            | flag(self.flags.has(MapFlags::NO_HUGE_PAGES), ClassFlags::NO_HUGE_PAGES)
            | flag(self.flags.has(MapFlags::TAGGED), ClassFlags::TAGGED);
        let attributes = Attributes {
            prot: self.prot,
            max_prot: self.max_prot,
            flags,
            policy: self.policy,
            object: None,
            delta: 0,
            space: None,
        };
        Ok((attributes.committed(), offset >> M::Arch::PAGE_SHIFT))
    }
}

impl<'vm, M: Machine> Space<'vm, M> {
    /// Makes a mapping, as `mmap` does; its address.
    ///
    /// May sleep while another operation works on the same range. Allocates page tables at the edges of the range, not
    /// for its inside.
    ///
    /// # Errors
    /// Nothing is changed by: [`Error::ZeroLength`], [`Error::Unaligned`], [`Error::OutOfRange`], [`Error::TooLow`],
    /// [`Error::Invalid`]; [`Error::AccessDenied`] if `prot` exceeds `max_prot`; [`Error::Exists`] for
    /// [`Place::FixedNoReplace`]; [`Error::NoAddressSpace`]; [`Error::Limit`]; [`Error::CommitLimit`];
    /// [`Error::OutOfMemory`].
    pub fn map(&self, request: &MapRequest<'_, 'vm, M>) -> Result<u64, Error> {
        if request.length == 0 {
            return Err(Error::ZeroLength { what: "mapping" });
        }
        let length = rounded::<M::Arch>(0, request.length)?;
        if let Some(address) = self.map_plain(request, length) {
            return Ok(address);
        }
        self.vm().with_room(|| self.map_other(request, length))
    }

    /// The shortest way: private anonymous memory anywhere, where this CPU's cursor is.
    #[inline(always)]
    fn map_plain(&self, request: &MapRequest<'_, 'vm, M>, length: u64) -> Option<u64> {
        let is_plain = may_fit_in_leaf::<M::Arch>(length)
            && matches!(request.source, Source::Anonymous)
            && request.place == Place::Anywhere
            && request.flags == MapFlags::NONE
            && request.max_prot == Prot(7)
            && request.policy.is_local()
            && self.is_unlimited()
            && self.vm().commits_unasked(length >> M::Arch::PAGE_SHIFT);
        if !is_plain {
            return None;
        }
        let cx = Cx::enter(self.vm());
        let class = |_| Ok(ClassId::plain(request.prot));
        let (address, _) = self.inner().map_at_cursor(&cx, length, class).ok()??;
        Some(address)
    }

    /// Everything but the shortest way.
    #[inline(never)]
    fn map_other(&self, request: &MapRequest<'_, 'vm, M>, length: u64) -> Result<u64, Error> {
        self.vm().physical().check_policy(request.policy)?;
        if matches!(request.source, Source::SharedAnonymous) {
            object::check_size::<M>(length >> M::Arch::PAGE_SHIFT)?;
        }
        let (attributes, offset) = request.attributes(self.vm().reserves_always())?;
        let made;
        let object = match request.source {
            Source::Anonymous => None,
            Source::Object { object, .. } if !core::ptr::eq(object.vm(), self.vm()) => {
                return Err(Error::Invalid { what: "the object belongs to another instance" });
            }
            Source::Object { object, .. } => Some(object),
            Source::SharedAnonymous => {
                let pages = length >> M::Arch::PAGE_SHIFT;
                made = object::shared_memory(self.vm(), pages, !attributes.flags.has(ClassFlags::NO_RESERVE))?;
                Some(&made)
            }
        };
        let attributes = Attributes { object: object.map(|object| object.inner_pointer()), ..attributes };
        let limited = self.may_map_at(request.place, length)?;
        let address = match request.place {
            Place::Fixed(address) => self.map_fixed(address, length, attributes, offset, true)?,
            Place::FixedNoReplace(address) => self.map_fixed(address, length, attributes, offset, false)?,
            Place::Hint(hint) => match self.map_at_hint(hint, length, attributes, offset)? {
                Some(address) => address,
                None => self.map_anywhere(length, attributes, offset, search_end::<M::Arch>(hint))?,
            },
            Place::Anywhere => self.map_anywhere(length, attributes, offset, M::Arch::SEARCH_END)?,
        };
        drop(limited);
        if request.flags.has(MapFlags::POPULATE) {
            // A shared page is not made dirty for nothing. What may be executed or written may be read here, as in
            // Linux.
            let writes = request.prot.has(Prot::WRITE) && !attributes.flags.has(ClassFlags::SHARED);
            let access = if writes { Access::Write } else { Access::Read };
            let _ = self.touch_pages(address, address + length, access);
        }
        Ok(address)
    }

    /// [`Space::may_map`] for `length` bytes at `place`. Whatever else is wrong with the place is noticed first.
    fn may_map_at(&self, place: Place, length: u64) -> Result<Option<SleepGuard<'_, M>>, Error> {
        match place {
            Place::Anywhere | Place::Hint(_) => self.may_map(length, (0, 0)),
            Place::Fixed(address) => self.may_map(length, mappable::<M::Arch>(address, length)?),
            Place::FixedNoReplace(address) => {
                let (start, _) = mappable::<M::Arch>(address, length)?;
                self.may_map(length, (0, 0)).map_err(|limit| match self.first_mapped(start, length) {
                    Some(address) => Error::Exists { address },
                    None => limit,
                })
            }
        }
    }

    fn map_fixed(
        &self,
        address: u64,
        length: u64,
        attributes: Attributes<M>,
        offset: u64,
        replace: bool,
    ) -> Result<u64, Error> {
        let (start, end) = mappable::<M::Arch>(address, length)?;
        let leaf = 1 << (M::Arch::shift(0) + M::Arch::index_bits(0));
        let middle = (start & !(leaf - 1)).saturating_add(leaf);
        if !M::guard(Guard::MapUnderClaim) && middle < end {
            self.map_fixed(start, middle - start, attributes, offset, replace)?;
            let passed = (middle - start) >> M::Arch::PAGE_SHIFT;
            return self.map_fixed(middle, end - middle, attributes, offset + passed, replace).map(|_| start);
        }
        let claim = Claim::acquire(self.vm(), self.inner(), start, end);
        if !replace && let Some(address) = self.first_mapped(start, end - start) {
            claim.release();
            return Err(Error::Exists { address });
        }
        self.map_claimed(claim, attributes, offset)
    }

    /// Maps at `hint` if that is legal and free.
    fn map_at_hint(
        &self,
        hint: u64,
        length: u64,
        attributes: Attributes<M>,
        offset: u64,
    ) -> Result<Option<u64>, Error> {
        match usable_hint::<M::Arch>(hint, length) {
            Some(address) => self.map_if_free(address, length, attributes, offset),
            None => Ok(None),
        }
    }

    /// Maps where there is room below `end`.
    fn map_anywhere(&self, length: u64, attributes: Attributes<M>, offset: u64, end: u64) -> Result<u64, Error> {
        let committed = if attributes.is_committed() { length >> M::Arch::PAGE_SHIFT } else { 0 };
        // Where that is refused, there may be no room either, which is to be said first.
        if may_fit_in_leaf::<M::Arch>(length)
            && let Ok(_ticket) = self.vm().may_commit(committed, || 0)
        {
            let cx = Cx::enter(self.vm());
            let class = |start| {
                let extent = Extent::of::<M::Arch>(start, start + length);
                cx.intern(&placed(attributes, start, offset).within(self.inner()), extent)
            };
            if !attributes.flags.has(ClassFlags::GROWS_DOWN)
                && let Some((address, class)) = self.inner().map_at_cursor(&cx, length, class)?
            {
                cx.release_class(class, 1);
                return Ok(address);
            }
        }
        loop {
            let address = self.find_room_below(length, end)?;
            if let Some(address) = self.map_if_free(address, length, attributes, offset)? {
                let cx = Cx::enter(self.vm());
                self.inner().note_mapped(&cx, address, address + length);
                return Ok(address);
            }
        }
    }

    /// A place for `length` bytes, at least a page, which is free at this moment, and which [`Place::Anywhere`] might
    /// choose.
    ///
    /// May sleep, if there seems to be none.
    ///
    /// # Errors
    /// [`Error::NoAddressSpace`].
    pub fn find_room(&self, length: u64) -> Result<u64, Error> {
        let rounded = rounded::<M::Arch>(0, length.max(1)).map_err(|_| Error::NoAddressSpace { length })?;
        self.find_room_below(rounded, M::Arch::SEARCH_END)
    }

    /// [`Space::find_room`] below `end`.
    // Room that a search without a lock has not found may have come where it had been already, while room ahead of it
    // went: so before there is none, it searches once more while nobody else maps or unmaps anything (G13N).
    pub(super) fn find_room_below(&self, length: u64, end: u64) -> Result<u64, Error> {
        let choose = || self.inner().choose(self.vm(), length, end);
        let start = M::Arch::USER_START;
        let mut found = choose();
        if found.is_none() && length <= end - start && M::guard(Guard::RoomSoughtAlone) {
            let claim = Claim::acquire(self.vm(), self.inner(), start, end);
            found = choose();
            claim.release();
        }
        found.ok_or(Error::NoAddressSpace { length })
    }

    /// Maps at `address` unless something is there, or a stack too close above.
    fn map_if_free(
        &self,
        address: u64,
        length: u64,
        attributes: Attributes<M>,
        offset: u64,
    ) -> Result<Option<u64>, Error> {
        let claim = Claim::acquire(self.vm(), self.inner(), address, address + length);
        if !self.inner().is_free(self.vm(), address, length) {
            claim.release();
            return Ok(None);
        }
        self.map_claimed(claim, attributes, offset).map(Some)
    }

    /// Maps the whole claimed range, and ends the claim.
    fn map_claimed(&self, mut claim: Claim<'_, M>, attributes: Attributes<M>, offset: u64) -> Result<u64, Error> {
        let start = claim.start;
        let ticket = self.may_replace(&claim, &attributes);
        let prepared = ticket.as_ref().map_err(|refused| *refused).and_then(|_| {
            let cx = Cx::enter(self.vm());
            let extent = Extent::of::<M::Arch>(start, claim.end);
            cx.intern(&placed(attributes, start, offset).within(self.inner()), extent)
        });
        if attributes.flags.has(ClassFlags::GROWS_DOWN) {
            self.inner().note_stack(start, claim.end);
        }
        let result = prepared.and_then(|class| match claim.split(self.vm(), Holes::Cut) {
            Ok(spares) => {
                claim.apply(self.vm(), ClassChange::Set(class), PageChange::Zap, spares, Fold::Whole);
                Ok((class, start))
            }
            Err(error) => {
                let cx = Cx::enter(self.vm());
                cx.release_class(class, 1);
                claim.tidy(&cx);
                Err(error)
            }
        });
        let result = result.map(|(class, start)| {
            if class.is_stored() {
                Cx::enter(self.vm()).release_class(class, 1);
            }
            start
        });
        claim.release();
        result
    }
}

impl<'vm, M: Machine> Space<'vm, M> {
    /// Lets the caller commit the claimed range, if a mapping of those attributes is: so much of it as is not yet.
    fn may_replace(&self, claim: &Claim<'_, M>, attributes: &Attributes<M>) -> Result<Ticket<'vm, M>, Error> {
        let pages = (claim.end - claim.start) >> M::Arch::PAGE_SHIFT;
        if !attributes.is_committed() || self.vm().commits_unasked(pages) {
            return Ok(self.vm().no_ticket());
        }
        let replaced = self.committed_within(claim.start, claim.end, ClassFlags::NONE);
        self.vm().may_commit(pages - replaced, || 0)
    }
}

/// `attributes` of a mapping at `start` that shows its object from page `offset` on.
#[inline(always)]
fn placed<M: Machine>(attributes: Attributes<M>, start: u64, offset: u64) -> Attributes<M> {
    let delta = if attributes.object.is_some() { (start >> M::Arch::PAGE_SHIFT).wrapping_sub(offset) } else { 0 };
    Attributes { delta, ..attributes }
}
