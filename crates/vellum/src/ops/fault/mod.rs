//! Page faults.
//!
//! Plan: descend without a lock and read class, entry and sequence count. Prepare: allocate, clear, copy or read a
//! page on private state. Commit: take the leaf's lock, and install only if the leaf is not stale and neither its
//! classes nor the entry have changed; else drop what was prepared and begin again. No lock of the space is taken.
//!
//! | file | what |
//! |---|---|
//! | `kinds` | what an access was, and what came of its fault |
//! | `plan` | what was read without a lock, and whether it still holds |
//! | `anonymous` | the first access to anonymous memory |
//! | `object` | that to a page of a file or of shared memory |
//! | `present` | an access that the entry there did not allow |
//! | `copy` | a private copy in place of a shared page |
//! | `fetched` | what was got outside of the core for the next try |
//! | `huge` | where the way ends at an upper table: huge pages |
//! | `huge_object` | the same, of shared memory |
//! | `folio` | that to a page of anonymous memory which comes with its neighbours |
//!
//! What is absent comes back in [`swap_in`](super::swap_in).

mod anonymous;
mod copy;
mod fetched;
mod folio;
mod huge;
mod huge_object;
mod kinds;
mod object;
mod plan;
mod present;

pub use kinds::{Access, FaultError, FaultKind};
pub(super) use plan::{Plan, bits_for, commit, plan_at};

use self::anonymous::absent_anonymous;
use self::fetched::{Fetched, Wanted};
use self::huge::above_leaf;
use self::object::absent_object;
use self::plan::still_so;
use self::present::present;
use crate::arch::{Arch, SwapSlot, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::{Object, PageError};
use crate::phys::Pfn;
use crate::space::apply::readable;
use crate::space::claim::{self, Conflict, commit_above};
use crate::space::members::Members;
use crate::space::table::Table;
use crate::space::walk::{Made, Maker};
use crate::space::{ClassId, Inner, Space};
use crate::stat::Event;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::SeqCst;

/// What one try came to.
pub(super) enum Step<M: Machine> {
    Done(FaultKind),
    /// Something changed meanwhile.
    Retry,
    /// There is one more table on the way now.
    Descend,
    /// A table is needed, or nothing mapped, where a range operation is being committed.
    AwaitCommit(Conflict),
    /// Somebody has the page's folio lock: it is being read, written out or moved.
    AwaitFolio(Pfn, Word<M::Arch>),
    /// The page must be read from swap first, which sleeps.
    SwapIn(SwapSlot),
    /// A fork has copied the table and not flushed yet.
    AwaitFork(u32),
    /// A huge page is to be copied: it must become small ones first.
    Split,
    /// A folio may come: it is to be cleared first, with pre-emption on.
    ClearFolio(Wanted),
    /// Nothing is mapped, but a stack above may grow.
    Grow,
    /// The page must be read first, which sleeps. The object comes with a reference.
    Read(NonNull<crate::object::Inner<M>>, u64),
    /// The page is on its way, or about to go. The object comes with a reference.
    AwaitPage(NonNull<crate::object::Inner<M>>, u64),
}

impl<M: Machine> Space<'_, M> {
    /// Resolves the page fault of an access to `address` by a program of this space; the access is then to be repeated.
    ///
    /// Context: pre-emptible. Takes the lock of one page table at a time, never one of the space. Allocates; sleeps for
    /// the I/O of files and of swap, for pages that are being moved or written, while a fork of the space in progress
    /// has copied that part, and to free memory.
    ///
    /// # Errors
    /// [`FaultError`]; nothing has changed then, but that a stack may have grown which does not allow the access.
    pub fn fault(&self, address: u64, access: Access) -> Result<FaultKind, FaultError> {
        if let Some(group) = self.inner().group() {
            self.charge(address, group)?;
        }
        let mut fetched = None;
        let result = self.fault_with(address, access, &mut fetched);
        if fetched.is_none() && !matches!(result, Err(FaultError::OutOfMemory { .. })) {
            return result;
        }
        self.end_fault(address, access, fetched, result)
    }

    /// Ends a fault that lacked memory, or has fetched something for nothing.
    #[cold]
    #[inline(never)]
    fn end_fault(
        &self,
        address: u64,
        access: Access,
        mut fetched: Option<Fetched>,
        result: Result<FaultKind, FaultError>,
    ) -> Result<FaultKind, FaultError> {
        let is_out_of_memory = |error: &FaultError| matches!(error, FaultError::OutOfMemory { .. });
        self.drop_fetched(&mut fetched);
        let again = || {
            let result = self.fault_with(address, access, &mut fetched);
            self.drop_fetched(&mut fetched);
            result
        };
        self.vm().again_with_memory(again, is_out_of_memory, result)
    }

    /// Makes room in the space's group, if it is at its limit.
    #[cold]
    fn charge(&self, address: u64, group: NonNull<Members<M>>) -> Result<(), FaultError> {
        // SAFETY: the space's reference.
        let is_full = unsafe { group.as_ref() }.is_full(self.vm());
        // An access to a page that is there needs none.
        if is_full && !self.make_room_in_group(group) && self.translate(address).is_none() {
            return Err(FaultError::OutOfMemory { address });
        }
        Ok(())
    }

    #[inline(always)]
    fn fault_with(&self, address: u64, access: Access, fetched: &mut Option<Fetched>) -> Result<FaultKind, FaultError> {
        let mut is_major = false;
        loop {
            let step = {
                let cx = Cx::enter(self.vm());
                let step = try_fault(&cx, self.inner(), address, access, fetched)?;
                if let Step::Done(kind) = step {
                    count(&cx, kind, is_major);
                    return Ok(kind);
                }
                step
            };
            match step {
                Step::Done(kind) => return Ok(kind),
                Step::Retry | Step::Split => Cx::enter(self.vm()).count(Event::FaultRetry, 1),
                Step::ClearFolio(wanted) => {
                    if fetched.is_some() {
                        self.drop_fetched(fetched);
                    }
                    *fetched = Some(self.clear_folio(wanted));
                }
                Step::Descend => {}
                Step::AwaitCommit(conflict) => claim::wait(self.vm(), conflict),
                Step::AwaitFork(stamp) => self.await_fork(stamp),
                Step::AwaitFolio(pfn, word) => self.await_folio(address, pfn, word),
                Step::SwapIn(slot) => {
                    self.drop_fetched(fetched);
                    let read = self.read_swap(address, slot);
                    is_major |= self.unless_gone(read, || self.names_slot(address, slot))?.unwrap_or(false);
                }
                Step::Grow => {
                    if !self.grow_stack(address)? {
                        return Err(FaultError::Segv { address, denied: false });
                    }
                }
                Step::AwaitPage(object, index) => {
                    self.drop_fetched(fetched);
                    // SAFETY: the reference that came with it.
                    let object = unsafe { Object::of_reference(self.vm(), object) };
                    crate::object::await_page(self.vm(), object.inner(), index);
                }
                Step::Read(object, index) => {
                    self.drop_fetched(fetched);
                    // SAFETY: the reference that came with it.
                    let object = unsafe { Object::of_reference(self.vm(), object) };
                    let read = self.fetch(address, &object, index);
                    let is_shown = || self.shows(address, &object, index);
                    if let Some((page, was_read)) = self.unless_gone(read, is_shown)? {
                        is_major |= was_read;
                        *fetched = Some(page);
                    }
                }
            }
        }
    }

    /// Lets go of what was fetched for nothing: before anything is read or written, lest it is kept for ever if that
    /// panics.
    #[cold]
    fn drop_fetched(&self, fetched: &mut Option<Fetched>) {
        if let Some(fetched) = fetched.take() {
            fetched.drop(self.vm());
        }
    }

    /// Reads page `index` of `object`.
    #[cold]
    fn fetch(&self, address: u64, object: &Object<'_, M>, index: u64) -> Result<(Fetched, bool), FaultError> {
        let page = crate::object::get_page(self.vm(), object.inner_pointer(), index);
        if matches!(page, Ok((_, true))) {
            Cx::enter(self.vm()).count(Event::PageIn, 1);
        }
        match page {
            Ok((pfn, was_read)) => Ok((Fetched::Page { object: object.inner().id(), index, pfn }, was_read)),
            Err(PageError::OutOfMemory) => Err(FaultError::OutOfMemory { address }),
            Err(PageError::Io { index } | PageError::BeyondEnd { index }) => Err(FaultError::Bus { address, index }),
        }
    }

    /// What was read for the page at `address`. A bus error is the program's only if the address still shows what could
    /// not be read: it was read without a lock, and something else may be mapped by now. `None`: look again (G2B).
    #[cold]
    fn unless_gone<T>(
        &self,
        read: Result<T, FaultError>,
        is_shown: impl FnOnce() -> bool,
    ) -> Result<Option<T>, FaultError> {
        match read {
            Err(FaultError::Bus { .. }) if M::guard(Guard::BusWhileShown) && !is_shown() => Ok(None),
            other => other.map(Some),
        }
    }

    /// Whether page `index` of `object` is mapped at `address`.
    fn shows(&self, address: u64, object: &Object<'_, M>, index: u64) -> bool {
        let cx = Cx::enter(self.vm());
        let class = self.inner().span_at(&cx, address, address + 1).class;
        let attributes = (class != ClassId::NONE).then(|| cx.attributes(class));
        attributes.is_some_and(|attributes| {
            let offset = (address >> M::Arch::PAGE_SHIFT).wrapping_sub(attributes.delta);
            attributes.object == Some(object.inner_pointer()) && offset == index
        })
    }

    /// Sleeps until fork number `stamp` has flushed.
    #[cold]
    pub(super) fn await_fork(&self, stamp: u32) {
        let done = &self.inner().fork_done;
        let seen = done.load(SeqCst);
        if self.inner().fork_pending(stamp) {
            self.vm().machine().sleep(done.as_core(), seen);
        }
    }
}

fn count<M: Machine>(cx: &Cx<'_, M>, kind: FaultKind, is_major: bool) {
    cx.count(Event::Fault, 1);
    let event = match kind {
        FaultKind::Anonymous => Event::AnonymousFault,
        FaultKind::Zero => Event::ZeroFault,
        FaultKind::Copied => Event::CopyFault,
        FaultKind::Reused => Event::ReuseFault,
        FaultKind::File => Event::FileFault,
        FaultKind::Swapped => Event::SwapFault,
        FaultKind::Spurious => Event::SpuriousFault,
    };
    cx.count(event, 1);
    if is_major {
        cx.count(Event::MajorFault, 1);
    }
}

/// One try.
#[inline(always)]
fn try_fault<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    address: u64,
    access: Access,
    fetched: &mut Option<Fetched>,
) -> Result<Step<M>, FaultError> {
    if !(M::Arch::USER_START..M::Arch::USER_END).contains(&address) {
        return Err(FaultError::Segv { address, denied: false });
    }
    let table = space.lowest(cx, address);
    let Some(sequence) = table.sequence() else {
        table.await_sequence(cx);
        return Ok(Step::Retry);
    };
    let index = table.index(address);
    let class = table.class(cx, index);
    // If a table hangs there by now, the class of its slot says nothing.
    let still_so = || still_so(&table, sequence) && table.is_childless(index);
    if class == ClassId::NONE {
        // A move that replaces what is mapped leaves a hole for a moment. It was none of those if nobody was committing
        // after it was seen and before it is found to be there still (G6F).
        let conflict = if M::guard(Guard::HoleAwaited) { commit_above(cx, space, &{ table }, address) } else { None };
        return Ok(match conflict {
            Some(conflict) => Step::AwaitCommit(conflict),
            None if still_so() => Step::Grow,
            None => Step::Retry,
        });
    }
    let attributes = cx.attributes(class);
    let page = address >> M::Arch::PAGE_SHIFT << M::Arch::PAGE_SHIFT;
    let is_denied = !readable::<M::Arch>(attributes.prot).has(access.right());
    if is_denied || attributes.is_guarded() {
        // Rights are asked first: what may not be accessed at all is denied, guard or not.
        let fault = Err(FaultError::Segv { address, denied: is_denied });
        return if still_so() { fault } else { Ok(Step::Retry) };
    }
    let word = table.page(index);
    // Read after the entry: an entry that a fork made read-only comes with the stamp.
    let stamp = table.fork_stamp();
    if space.fork_pending(stamp) {
        return Ok(Step::AwaitFork(stamp));
    }
    let plan = || Plan { leaf: table, index, sequence, attributes, word, address: page, access };
    if table.level == 0 && word.is_empty() && attributes.object.is_none() {
        // Apart from the others, whose plans and steps lie in memory.
        return absent_anonymous(cx, space, &plan(), fetched).map_err(|_| FaultError::OutOfMemory { address });
    }
    let plan = plan();
    let step = if table.level > 0 {
        above_leaf(cx, space, plan, class, fetched)
    } else if let (true, Some(object)) = (word.is_empty(), attributes.object) {
        absent_object(cx, space, &plan, object, fetched)
    } else if word.is_page() {
        present(cx, space, &plan, fetched)
    } else {
        super::swap_in::absent(cx, space, &plan)
    };
    step.map_err(|error| match error {
        PageError::OutOfMemory => FaultError::OutOfMemory { address },
        PageError::Io { index } | PageError::BeyondEnd { index } => FaultError::Bus { address, index },
    })
}

/// Makes the next lower table on the way to `address`.
#[cold]
fn add_table<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    table: Table<'_, M>,
    address: u64,
    class: ClassId,
) -> Result<Step<M>, PageError> {
    match space.make_child(cx, table, address, class, Maker::Fault) {
        Ok(Made::LookAgain) => Ok(Step::Descend),
        Ok(Made::Wait(conflict)) => Ok(Step::AwaitCommit(conflict)),
        Err(_) => Err(PageError::OutOfMemory),
    }
}
