//! Small pages become huge ones: on advice, and in the background.
//!
//! How, [`crate::space::collapse`] says, and of shared memory `object::gather`; here is where, and when not.

mod shared;

use super::huge_pages::{
    HugePages, can_be_huge, is_shared_memory, is_shared_wanted_huge, is_wanted_huge, may_show_huge,
};
use super::range::{Reach, checked};
use crate::arch::{Absent, Arch};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{Pfn, release};
use crate::space::claim::Claim;
use crate::space::collapse::{Census, Collapsing, Kept, LEVEL, Seen, rejoin};
use crate::space::cursor::Step;
use crate::space::{Attributes, ClassFlags, Inner, Space};
use crate::stat::Event;
use crate::vm::Vm;
use core::sync::atomic::Ordering::Relaxed;

/// Which places [`Vm::collapse`] passes by, though they may have huge pages: what Linux has in
/// `/sys/kernel/mm/transparent_hugepage/khugepaged`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollapseLimits {
    /// The most pages of a huge one that were never stored to, and take memory from then on (`max_ptes_none`).
    pub none_max: u64,
    /// The most that other spaces have, too, and keep, so that these are in memory twice (`max_ptes_shared`).
    pub shared_max: u64,
    /// The most that are brought back from swap for it (`max_ptes_swap`).
    pub swap_max: u64,
}

impl Default for CollapseLimits {
    /// As Linux has them at first, where a huge page is 512 small ones.
    fn default() -> Self {
        CollapseLimits { none_max: 511, shared_max: 256, swap_max: 64 }
    }
}

/// Who wants a place to be collapsed.
#[derive(Clone, Copy)]
enum Wish<'a> {
    /// A program, there and now.
    Advice,
    /// The policy, within limits.
    Policy(&'a CollapseLimits),
}

/// Why a place stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// No page is there.
    Nothing,
    /// It is of several mappings, or not all mapped.
    Mixed,
    /// The mapping is not to have huge pages, or the place is beyond a limit.
    Unwanted,
    /// Shared memory that does not reach so far, or was cut out of a huge page in part.
    Parts,
    /// Somebody is at work on a page, or has a reference to one.
    Busy,
    OutOfMemory,
    /// The space's group has no room for so many pages more.
    GroupLimit(u64),
}

impl From<Kept> for Refused {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Changed | Kept::Busy => Refused::Busy,
            Kept::OutOfMemory => Refused::OutOfMemory,
        }
    }
}

/// Bytes of a huge page, and pages.
fn sizes<A: Arch>() -> (u64, u64) {
    (1 << A::shift(LEVEL), 1 << (A::shift(LEVEL) - A::PAGE_SHIFT))
}

/// Whether advice may collapse the mapping, in this space.
fn may_be_collapsed<M: Machine>(space: &Inner<M>, attributes: &Attributes<M>) -> Result<(), Error> {
    let what = if space.huge_pages() == HugePages::Never {
        "the space is to have no huge pages"
    } else if !(can_be_huge(attributes) || is_shared_memory(attributes)) || attributes.flags.has(ClassFlags::TAGGED) {
        "only anonymous and shared memory without tags can be collapsed"
    } else if attributes.flags.has(ClassFlags::NO_HUGE_PAGES) {
        "it is to have no huge pages"
    } else if attributes.is_guarded() {
        "a guard cannot be collapsed"
    } else {
        return Ok(());
    };
    Err(Error::Invalid { what })
}

impl Wish<'_> {
    fn fits<M: Machine>(self, space: &Space<'_, M>, attributes: &Attributes<M>) -> bool {
        may_be_collapsed(space.inner(), attributes).is_ok()
            && match self {
                Wish::Advice => true,
                Wish::Policy(_) if attributes.object.is_some() => {
                    is_shared_wanted_huge(space.vm(), attributes) && may_show_huge(space.inner(), attributes)
                }
                Wish::Policy(_) => is_wanted_huge(space.vm(), space.inner(), attributes),
            }
    }

    /// [`Wish::fits`], of what is copied here for that: no object has a say in it.
    fn fits_copied<M: Machine>(self, space: &Space<'_, M>, attributes: &Attributes<M>) -> bool {
        attributes.object.is_none() && self.fits(space, attributes)
    }

    /// Whether a place that shows this is to be collapsed, of so many pages.
    fn allows(self, census: &Census, pages: u64) -> Result<(), Refused> {
        if census.none == pages {
            return Err(Refused::Nothing);
        }
        if census.in_place == pages {
            // Nothing is copied, and who holds a page goes on holding it.
            return Ok(());
        }
        if census.busy > 0 {
            return Err(Refused::Busy);
        }
        match self {
            Wish::Policy(CollapseLimits { none_max, shared_max, swap_max })
                if census.none > *none_max || census.shared > *shared_max || census.swapped > *swap_max =>
            {
                Err(Refused::Unwanted)
            }
            _ => Ok(()),
        }
    }
}

/// What a place shows, and of what mapping.
type Place<M> = (Census, Attributes<M>);

impl<M: Machine> Space<'_, M> {
    /// Collapses the whole places of a range.
    pub(super) fn collapse(&self, start: u64, length: u64, reach: Reach) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        if M::Arch::HUGE_LEVEL < LEVEL {
            return Err(Error::Unsupported { what: "huge pages on this processor" });
        }
        let reached = self
            .survey(start, end, reach, &mut |cx, class, _| Ok(may_be_collapsed(self.inner(), &cx.attributes(class))))?;
        let size = sizes::<M::Arch>().0;
        let nothing = Err(Error::Invalid { what: "no page is there to be collapsed" });
        let (mut failed, last) = (Ok(()), reached.end & !(size - 1));
        let mut here = start.checked_next_multiple_of(size).unwrap_or(last);
        while here < last {
            let next = self.next_place(here, last);
            let place = next.map_or(last, |next| next.0);
            if place > here {
                failed = nothing;
            }
            here = place.saturating_add(size);
            if next.is_some_and(|(_, kind)| kind == PlaceOf::Leaf) {
                match self.collapse_place(place, Wish::Advice) {
                    Ok(_) | Err(Refused::Mixed) => {}
                    Err(Refused::OutOfMemory) => return Err(Error::OutOfMemory),
                    Err(Refused::GroupLimit(pages)) => return Err(Error::GroupLimit { pages }),
                    Err(Refused::Nothing) => failed = nothing,
                    Err(Refused::Unwanted) => {
                        failed = Err(Error::Invalid { what: "what was to be collapsed is mapped otherwise now" })
                    }
                    Err(Refused::Parts) => {
                        failed =
                            Err(Error::Invalid { what: "not all of the shared memory is there, or can be one page" })
                    }
                    Err(Refused::Busy) => failed = Err(Error::Busy { address: place }),
                }
            }
        }
        failed.and(reached.result)
    }

    /// Makes a huge page of what is in the place that begins at `start`; whether it was not one before. May sleep.
    fn collapse_place(&self, start: u64, wish: Wish<'_>) -> Result<bool, Refused> {
        let is_new = self.try_collapse(start, wish)?;
        if is_new {
            Cx::enter(self.vm()).count(Event::Collapse, 1);
        }
        Ok(is_new)
    }

    /// As [`Space::collapse_place`], uncounted.
    fn try_collapse(&self, start: u64, wish: Wish<'_>) -> Result<bool, Refused> {
        if let Some(shared) = self.shared_at(start, wish)? {
            return self.collapse_shared(start, &shared, wish);
        }
        let Some((census, attributes)) = self.look_and_bring_back(start, wish)? else { return Ok(false) };
        let (vm, inner, pages) = (self.vm(), self.inner(), sizes::<M::Arch>().1);
        // Asked again under the locks: something else may have been mapped there since.
        let fits = |attributes: &Attributes<M>| wish.fits_copied(self, attributes);
        if census.in_place == pages {
            let _claim = Claimed::of(vm, inner, start);
            match rejoin(&Cx::enter(vm), inner, start, &fits) {
                Ok(()) => return Ok(true),
                // It may have become single pages: these can be copied.
                Err(Kept::Changed) => {}
                Err(kept) => return Err(kept.into()),
            }
        }
        if !self.has_room_in_group(census.none) {
            return Err(Refused::GroupLimit(census.none));
        }
        let head = self.folio_for_collapse(start, &attributes, wish).ok_or(Refused::OutOfMemory)?;
        let claim = Claimed::of(vm, inner, start);
        let filled = Collapsing::begin(vm, inner, start, head, &fits)
            .and_then(|collapsing| collapsing.fill().map(|noted| (collapsing, noted)));
        match filled {
            Ok((collapsing, noted)) => {
                collapsing.finish(noted);
                drop(claim);
                Ok(true)
            }
            Err(kept) => {
                drop(claim);
                let cx = Cx::enter(vm);
                vm.physical().frame(head).folio_lock().release(vm);
                release(&cx, head);
                Err(kept.into())
            }
        }
    }

    /// What is there, if it may be collapsed, with what was in swap brought back; none if it is a huge page.
    fn look_and_bring_back(&self, start: u64, wish: Wish<'_>) -> Result<Option<Place<M>>, Refused> {
        let (size, pages) = sizes::<M::Arch>();
        let mut is_first = true;
        loop {
            let (census, attributes) = {
                let cx = Cx::enter(self.vm());
                match self.inner().look_at_place(&cx, start) {
                    Seen::Huge => return Ok(None),
                    Seen::Nothing => return Err(Refused::Nothing),
                    Seen::Mixed => return Err(Refused::Mixed),
                    Seen::Small(class, census) => {
                        let attributes = cx.attributes(class);
                        if !wish.fits_copied(self, &attributes) {
                            return Err(Refused::Unwanted);
                        }
                        (census, attributes)
                    }
                }
            };
            wish.allows(&census, pages)?;
            if census.swapped == 0 {
                return Ok(Some((census, attributes)));
            }
            if !core::mem::replace(&mut is_first, false) {
                // They go as fast as they come.
                return Err(Refused::Busy);
            }
            for address in (start..start + size).step_by(1 << M::Arch::PAGE_SHIFT) {
                if self.is_swapped(address) {
                    self.bring_back(address).map_err(|_| Refused::OutOfMemory)?;
                }
            }
        }
    }

    /// Whether the page at `address` is in swap.
    fn is_swapped(&self, address: u64) -> bool {
        let cx = Cx::enter(self.vm());
        let table = self.inner().lowest(&cx, address);
        let word = table.page(table.index(address));
        matches!(word.absent(), Some(Absent::Swap { .. }))
    }

    /// A folio for the place that begins at `start`, not cleared, with its lock and a reference. For a program memory
    /// is moved to get one.
    fn folio_for_collapse(&self, start: u64, attributes: &Attributes<M>, wish: Wish<'_>) -> Option<Pfn> {
        let vm = self.vm();
        let order = sizes::<M::Arch>().1.ilog2() as u8;
        let offset = (start >> M::Arch::PAGE_SHIFT).wrapping_sub(attributes.delta) >> order;
        let folio = || {
            let cx = Cx::enter(vm);
            let head = cx.alloc_folio_by(order, attributes.policy, offset).ok()?;
            let frame = vm.physical().frame(head);
            frame.words[2].store(0, Relaxed);
            frame.begin_locked();
            cx.count(Event::CollapseAlloc, 1);
            Some(head)
        };
        let after_compaction = || {
            // Leaves that were collapsed before lie between the pages that became free with them.
            vm.quiesce();
            folio().or_else(|| vm.nodes().any(|node| vm.compact(node, order)).then(folio).flatten())
        };
        let found = match wish {
            Wish::Advice => folio().or_else(after_compaction),
            Wish::Policy(_) => folio(),
        };
        if found.is_none() {
            Cx::enter(vm).count(Event::CollapseAllocFailed, 1);
        }
        found
    }

    /// The first place from `here` to `end` where there is something, and what.
    fn next_place(&self, mut here: u64, end: u64) -> Option<(u64, PlaceOf)> {
        while here < end {
            let cx = Cx::enter(self.vm());
            let mut cursor = self.inner().cursor_over(&cx, (M::Arch::USER_START, end), here);
            while let Some(step) = cursor.next() {
                match step {
                    Step::Down(table) if table.level == 0 => return Some((table.base(cursor.here()), PlaceOf::Leaf)),
                    Step::Leaf(slots) => return Some((slots.start, PlaceOf::Page)),
                    _ => {}
                }
            }
            here = cursor.here();
        }
        None
    }
}

/// What there is in the place of a huge page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PlaceOf {
    /// A leaf.
    Leaf,
    /// A huge page.
    Page,
}

/// The claim of a place while it is collapsed.
struct Claimed<'s, M: Machine>(Option<Claim<'s, M>>);

impl<'s, M: Machine> Claimed<'s, M> {
    fn of(vm: &'s Vm<M>, inner: &'s Inner<M>, start: u64) -> Self {
        let range = (start, start + sizes::<M::Arch>().0);
        Claimed(M::guard(Guard::CollapseUnderClaim).then(|| Claim::acquire_from(vm, inner, range, LEVEL)))
    }
}

impl<M: Machine> Drop for Claimed<'_, M> {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Claim::release);
    }
}

impl<M: Machine> Vm<M> {
    /// Makes huge pages of small ones where the policies ([`Vm::set_huge_pages`], [`Vm::set_shared_huge_pages`]) and
    /// advice want them, as far as `limits` let it: what an embedder's background task does from time to time. Looks at
    /// `places` leaves and spaces, from where the last call ended, and goes round once at most; how many huge pages
    /// were made.
    ///
    /// May sleep: for range operations, to bring pages back from swap, and while shared memory is made longer or
    /// shorter or gets holes. Allocates a huge page for each, and does nothing to get one where there is none: that is
    /// what [`Vm::compact`] is for.
    pub fn collapse(&self, places: u64, limits: &CollapseLimits) -> u64 {
        let wants_none = [self.huge_pages(), self.shared_huge_pages()] == [HugePages::Never; 2];
        if wants_none || M::Arch::HUGE_LEVEL < LEVEL {
            return 0;
        }
        let [of_space, of_address] = &self.collapse_cursor;
        let (begin, mut here) = (of_space.load(Relaxed), of_address.load(Relaxed).max(M::Arch::USER_START));
        let (mut left, mut made) = (places, 0);
        let mut space = self.space_from(begin);
        let mut has_wrapped = space.is_none();
        if has_wrapped {
            (space, here) = (Space::youngest(self), M::Arch::USER_START);
        }
        let last = if has_wrapped { 0 } else { begin };
        while left > 0 {
            let Some(this) = space.take().filter(|this| !has_wrapped || this.id() >= last) else {
                if has_wrapped {
                    break;
                }
                (has_wrapped, space, here) = (true, Space::youngest(self), M::Arch::USER_START);
                continue;
            };
            made += this.collapse_from(&mut here, &mut left, limits);
            of_space.store(this.id(), Relaxed);
            of_address.store(here, Relaxed);
            if left > 0 {
                left -= 1;
                (space, here) = (this.older(), M::Arch::USER_START);
            }
        }
        made
    }

    /// The space of that number or, if it has ended, one that is older.
    fn space_from(&self, id: u64) -> Option<Space<'_, M>> {
        let mut space = Space::youngest(self);
        while let Some(this) = space.take_if(|this| this.id() > id) {
            space = this.older();
        }
        space
    }
}

impl<M: Machine> Space<'_, M> {
    /// Collapses the places from `here` on that are wanted, until `left` leaves were looked at; how many.
    fn collapse_from(&self, here: &mut u64, left: &mut u64, limits: &CollapseLimits) -> u64 {
        let mut made = 0;
        while *left > 0 {
            let Some((place, kind)) = self.next_place(*here, M::Arch::USER_END) else { break };
            *here = place.saturating_add(sizes::<M::Arch>().0);
            if kind == PlaceOf::Page {
                continue;
            }
            *left -= 1;
            made += u64::from(self.collapse_place(place, Wish::Policy(limits)) == Ok(true));
        }
        made
    }
}
