//! Page faults.
//!
//! Plan: descend without a lock and read class, entry and sequence count. Prepare: allocate, clear, copy or read a
//! page on private state. Commit: take the leaf's lock, and install only if the leaf is not stale and neither its
//! classes nor the entry have changed; else drop what was prepared and begin again. No lock of the space is taken.

use crate::arch::{Arch, PageBits, Prot, SwapSlot, Word};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::{self, Object, PageError};
use crate::phys::{AllocFlags, Kind, Pfn, Policy};
use crate::rmap::COPY_OF_OBJECT;
use crate::space::apply::{readable, rss_kind};
use crate::space::claim::{self, Conflict, commit_above};
use crate::space::members::Members;
use crate::space::table::{Locked, Table};
use crate::space::walk::{Made, Maker};
use crate::space::{Attributes, ClassFlags, ClassId, Inner, RssKind, Space};
use crate::stat::Event;
use crate::tlb::Flush;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// What an instruction wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

impl Access {
    #[inline(always)]
    fn right(self) -> Prot {
        match self {
            Access::Read => Prot::READ,
            Access::Write => Prot::WRITE,
            Access::Execute => Prot::EXECUTE,
        }
    }

    /// Whether an entry with `bits` allows the access.
    #[inline(always)]
    pub(crate) fn is_allowed(self, bits: PageBits) -> bool {
        bits.prot().has(self.right())
    }
}

/// How a fault was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A fresh page of anonymous memory.
    Anonymous,
    /// The zero page, for a load of untouched anonymous memory.
    Zero,
    /// A private copy of a page shared with others or with a file.
    Copied,
    /// The page that was there, now writable: it had no other user.
    Reused,
    /// A page of a file or of shared memory.
    File,
    /// A page that was in swap.
    Swapped,
    /// Nothing was to be done: another CPU did it, or the CPU's translation was out of date.
    Spurious,
}

/// Why a fault could not be resolved: what the program gets for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// A segmentation fault.
    Segv {
        /// The address accessed.
        address: u64,
        /// Something is mapped there and does not allow the access (`SEGV_ACCERR`); else nothing is, or a guard
        /// (`SEGV_MAPERR`).
        denied: bool,
    },
    /// A bus error: the object has no such page, or it cannot be read.
    Bus {
        /// The address accessed.
        address: u64,
        /// Page index in the object.
        index: u64,
    },
    /// No memory is left.
    OutOfMemory {
        /// The address accessed.
        address: u64,
    },
}

impl core::fmt::Display for FaultError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            FaultError::Segv { address, denied: false } => write!(f, "segmentation fault: nothing at {address:#x}"),
            FaultError::Segv { address, denied: true } => write!(f, "segmentation fault: no right at {address:#x}"),
            FaultError::Bus { address, index } => write!(f, "bus error at {address:#x}: no page {index} in the object"),
            FaultError::OutOfMemory { address } => write!(f, "out of memory for a fault at {address:#x}"),
        }
    }
}

impl core::error::Error for FaultError {}

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
    /// Nothing is mapped, but a stack above may grow.
    Grow,
    /// The page must be read first, which sleeps. The object comes with a reference.
    Read(NonNull<object::Inner<M>>, u64),
}

/// A page of an object, with a reference, fetched before the try that needs it.
struct Fetched {
    /// The object's identity: addresses are used again.
    object: u64,
    index: u64,
    pfn: Pfn,
}

/// What a try has found out.
pub(super) struct Plan<'a, M: Machine> {
    pub(super) leaf: Table<'a, M>,
    pub(super) index: usize,
    /// Of the leaf's classes.
    sequence: u32,
    pub(super) attributes: Attributes<M>,
    /// The entry.
    pub(super) word: Word<M::Arch>,
    /// Rounded down to a page.
    pub(super) address: u64,
    pub(super) access: Access,
}

impl<M: Machine> Plan<'_, M> {
    /// Page index in the object, or anonymous offset.
    #[inline(always)]
    pub(super) fn offset(&self, page_shift: u32) -> u64 {
        (self.address >> page_shift).wrapping_sub(self.attributes.delta)
    }
}

impl<M: Machine> Plan<'_, M> {
    /// The offset by which reverse mapping finds an anonymous page of this place.
    #[inline(always)]
    pub(super) fn anonymous_offset(&self) -> u64 {
        let copy = if self.attributes.object.is_some() { COPY_OF_OBJECT } else { 0 };
        (self.offset(M::Arch::PAGE_SHIFT) & !COPY_OF_OBJECT) | copy
    }

    /// The bit by which accesses are checked against tags, where the mapping wants that.
    #[inline(always)]
    pub(super) fn tag_bit(&self) -> PageBits {
        let is_tagged = M::Arch::semantics().tags.is_some() && self.attributes.flags.has(ClassFlags::TAGGED);
        if is_tagged { PageBits::TAGGED } else { PageBits::NONE }
    }
}

impl<M: Machine> Space<'_, M> {
    /// Resolves the page fault of an access to `address` by a program of this space; the access is then to be repeated.
    ///
    /// Context: pre-emptible. Takes the lock of one page table at a time, never one of the space. Allocates; sleeps for
    /// the I/O of files and of swap, for pages that are being moved or written, while a fork of the space in progress has
    /// copied that part, and to free memory.
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

    /// Ends a fault that lacked memory, or has fetched a page for nothing.
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
        let is_full = unsafe { group.as_ref() }.is_full();
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
                Step::Retry => Cx::enter(self.vm()).count(Event::FaultRetry, 1),
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

    /// Lets go of a page that was fetched for nothing: before anything is read or written, lest it is kept for ever if that
    /// panics.
    #[cold]
    fn drop_fetched(&self, fetched: &mut Option<Fetched>) {
        if let Some(page) = fetched.take() {
            object::release(&Cx::enter(self.vm()), page.pfn);
        }
    }

    /// Reads page `index` of `object`.
    #[cold]
    fn fetch(&self, address: u64, object: &Object<'_, M>, index: u64) -> Result<(Fetched, bool), FaultError> {
        let page = object::get_page(self.vm(), object.inner_pointer(), index);
        if matches!(page, Ok((_, true))) {
            Cx::enter(self.vm()).count(Event::PageIn, 1);
        }
        match page {
            Ok((pfn, was_read)) => Ok((Fetched { object: object.inner().id(), index, pfn }, was_read)),
            Err(PageError::OutOfMemory) => Err(FaultError::OutOfMemory { address }),
            Err(PageError::Io { index } | PageError::BeyondEnd { index }) => Err(FaultError::Bus { address, index }),
        }
    }

    /// What was read for the page at `address`. A bus error is the program's only if the address still shows what could not
    /// be read: it was read without a lock, and something else may be mapped by now. `None`: look again (G2B).
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
    let still_so = || still_so(&table, sequence) && (table.level == 0 || table.entry(index).is_empty());
    if class == ClassId::NONE {
        // A move that replaces what is mapped leaves a hole for a moment. It was none of those if nobody was committing
        // after it was seen and before it is found to be there still (G6F).
        let conflict = if M::guard(Guard::HoleAwaited) { commit_above(cx, space, &table, address) } else { None };
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
    if table.level > 0 {
        return add_table(cx, space, table, address, class);
    }
    let word = table.entry(index);
    // Read after the entry: an entry that a fork made read-only comes with the stamp.
    let stamp = table.fork_stamp();
    if space.fork_pending(stamp) {
        return Ok(Step::AwaitFork(stamp));
    }
    let plan = Plan { leaf: table, index, sequence, attributes, word, address: page, access };
    let step = if !word.is_empty() {
        if word.is_page() { present(cx, space, &plan) } else { super::swap_in::absent(cx, space, &plan) }
    } else if let Some(object) = attributes.object {
        absent_object(cx, space, &plan, object, fetched)
    } else {
        absent_anonymous(cx, space, &plan)
    };
    step.map_err(|error| match error {
        PageError::OutOfMemory => FaultError::OutOfMemory { address },
        PageError::Io { index } | PageError::BeyondEnd { index } => FaultError::Bus { address, index },
    })
}

/// A plan to bring back what is absent at `address`, a page's, for loads but without asking for rights; `None` if
/// nothing is known of the page there.
pub(super) fn plan_at<'a, M: Machine>(cx: &'a Cx<'_, M>, space: &Inner<M>, address: u64) -> Option<Plan<'a, M>> {
    let leaf = space.lowest(cx, address);
    let sequence = loop {
        match leaf.sequence() {
            Some(sequence) => break sequence,
            None => leaf.await_sequence(cx),
        }
    };
    let index = leaf.index(address);
    let (class, word) = (leaf.class(cx, index), leaf.entry(index));
    if leaf.level > 0 || class == ClassId::NONE || word.is_empty() || word.is_page() {
        return None;
    }
    Some(Plan { leaf, index, sequence, attributes: cx.attributes(class), word, address, access: Access::Read })
}

/// Whether what was read of the table's classes since `sequence` belongs together.
#[inline(always)]
fn still_so<M: Machine>(table: &Table<'_, M>, sequence: u32) -> bool {
    table.sequence_is(sequence) || !M::guard(Guard::SequenceReread)
}

/// Makes the next lower table on the way to `address`.
#[cold]
fn add_table<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    table: Table<'_, M>,
    address: u64,
    class: ClassId,
) -> Result<Step<M>, FaultError> {
    match space.make_child(cx, table, address, class, Maker::Fault) {
        Ok(Made::LookAgain) => Ok(Step::Descend),
        Ok(Made::Wait(conflict)) => Ok(Step::AwaitCommit(conflict)),
        Err(_) => Err(FaultError::OutOfMemory { address }),
    }
}

/// Takes the leaf's lock, if everything is as planned.
#[inline(always)]
pub(super) fn commit<'a, M: Machine>(cx: &'a Cx<'_, M>, space: &Inner<M>, plan: &Plan<'a, M>) -> Option<Locked<'a, M>> {
    let locked = plan.leaf.lock(cx, space, plan.address)?;
    let as_planned = !M::guard(Guard::Recheck)
        || plan.leaf.sequence() == Some(plan.sequence) && plan.leaf.entry(plan.index) == plan.word;
    if !as_planned || space.fork_pending(plan.leaf.fork_stamp()) {
        return None;
    }
    if locked.has_pending_flush(Guard::SettledByFault) && !plan.word.is_page() {
        // Another CPU may still see the page that was here.
        cx.settle(space, &locked, plan.address);
    }
    Some(locked)
}

/// The bits of an entry that grants what the class does; WRITE only if `writable`.
#[inline(always)]
pub(super) fn bits_for<A: Arch>(prot: Prot, writable: bool, access: Access) -> PageBits {
    let rights = readable::<A>(prot);
    let rights = if writable { rights } else { rights.without(Prot::WRITE) };
    let dirty = if access == Access::Write { PageBits::DIRTY } else { PageBits::NONE };
    PageBits::of(rights) | PageBits::ACCESSED | dirty
}

/// Private anonymous memory that nothing was stored to.
#[inline(always)]
fn absent_anonymous<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>) -> Result<Step<M>, PageError> {
    if plan.access != Access::Write {
        let bits = bits_for::<M::Arch>(plan.attributes.prot, false, plan.access) | PageBits::SPECIAL | plan.tag_bit();
        let Some(locked) = commit(cx, space, plan) else { return Ok(Step::Retry) };
        locked.install(plan.index, Word::of_page(cx.vm().zero_page(), bits));
        return Ok(Step::Done(FaultKind::Zero));
    }
    let pfn = fresh_page(cx, space, plan)?;
    let bits = bits_for::<M::Arch>(plan.attributes.prot, true, plan.access) | PageBits::EXCLUSIVE | plan.tag_bit();
    let Some(locked) = commit(cx, space, plan) else {
        drop_fresh(cx, pfn);
        return Ok(Step::Retry);
    };
    locked.install(plan.index, Word::of_page(pfn, bits));
    drop(locked);
    if plan.tag_bit() != PageBits::NONE && !M::guard(Guard::TagsBeforeMapping) {
        cx.clear_tags(pfn);
    }
    space.add_rss(cx, RssKind::Anonymous, 1);
    Ok(Step::Done(FaultKind::Anonymous))
}

/// A cleared anonymous page for the plan's address, with the reference and the mapping it is going to have.
#[inline(always)]
fn fresh_page<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>) -> Result<Pfn, PageError> {
    let pfn = new_page(cx, space, plan)?;
    // SAFETY: the frame was just allocated and nobody else has it.
    unsafe { cx.vm().machine().clear_page(cx.vm().machine().frame(pfn)) };
    if plan.tag_bit() != PageBits::NONE && M::guard(Guard::TagsBeforeMapping) {
        cx.clear_tags(pfn);
    }
    Ok(pfn)
}

/// As [`fresh_page`], with whatever contents.
#[inline(always)]
fn new_page<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>) -> Result<Pfn, PageError> {
    let pfn = match plan.attributes.policy {
        // Here, so that the offset is not worked out before it is needed.
        Policy::Local => cx.alloc_frame(0, AllocFlags::NONE),
        policy => cx.alloc_frame_by(AllocFlags::NONE, policy, plan.offset(M::Arch::PAGE_SHIFT)),
    };
    let pfn = pfn.map_err(|_: Error| PageError::OutOfMemory)?;
    let frame = cx.vm().physical().frame(pfn);
    frame.set_kind(Kind::Anonymous, 0);
    // The page's name for reverse mappings: who made it, and where. Neither fork nor remap changes it.
    frame.words[0].store(space.owner(), Relaxed);
    frame.words[1].store(plan.anonymous_offset(), Relaxed);
    frame.words[2].store(0, Relaxed);
    frame.set_counts(1, 1);
    Ok(pfn)
}

/// Frees a page from [`new_page`] that was not installed.
#[cold]
fn drop_fresh<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) {
    // By chance a lookup of a page that was in this frame before has a reference.
    if cx.vm().physical().frame(pfn).drop_mapping() {
        cx.free_frame(pfn);
    }
}

/// A page of an object that is not mapped here yet.
fn absent_object<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    object: NonNull<object::Inner<M>>,
    fetched: &mut Option<Fetched>,
) -> Result<Step<M>, PageError> {
    // The class was read without a lock: only now is it known that its object is one.
    if !still_so(&plan.leaf, plan.sequence) {
        return Ok(Step::Retry);
    }
    let index = plan.offset(M::Arch::PAGE_SHIFT);
    let Some(pfn) = find_page(cx, object, index, fetched) else {
        // SAFETY: found in a class within this read-side section, so its memory is there; it may be dying.
        let has_reference = unsafe { object.as_ref() }.try_get();
        return Ok(if has_reference { Step::Read(object, index) } else { Step::Retry });
    };
    let step = if cx.vm().physical().frame(pfn).is_full() {
        Err(PageError::OutOfMemory)
    } else if plan.access == Access::Write && plan.attributes.is_private() {
        copy_to(cx, space, plan, pfn)
    } else {
        Ok(map_page(cx, space, plan, pfn))
    };
    match step {
        // The reference of the lookup has become the mapping's.
        Ok(Step::Done(FaultKind::File)) => {}
        _ => object::release(cx, pfn),
    }
    step
}

/// The page with a reference: fetched before, or in the cache.
fn find_page<M: Machine>(
    cx: &Cx<'_, M>,
    object: NonNull<object::Inner<M>>,
    index: u64,
    fetched: &mut Option<Fetched>,
) -> Option<Pfn> {
    // SAFETY: found in a class within this read-side section.
    let object = unsafe { object.as_ref() };
    if is_going(object, index) {
        // Who asks for the page waits until that is over.
        return None;
    }
    match fetched.take_if(|page| page.object == object.id() && page.index == index) {
        Some(page) => Some(page.pfn),
        None => object.lookup(cx, index),
    }
}

/// Maps the object's own page. The caller's reference goes to the mapping.
fn map_page<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, pfn: Pfn) -> Step<M> {
    // A page of a shared mapping becomes writable by a store, so that the store is noticed.
    let bits = bits_for::<M::Arch>(plan.attributes.prot, plan.access == Access::Write, plan.access);
    let Some(locked) = commit(cx, space, plan) else { return Step::Retry };
    if !is_still_shown(cx, plan, pfn) {
        return Step::Retry;
    }
    cx.vm().physical().frame(pfn).add_mapping_of_reference();
    locked.install(plan.index, Word::of_page(pfn, bits));
    drop(locked);
    space.add_rss(cx, rss_kind(cx, pfn), 1);
    Step::Done(FaultKind::File)
}

/// Installs a private copy of page `source`, to which the caller has a reference, where nothing or that page was.
fn copy_to<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    source: Pfn,
) -> Result<Step<M>, PageError> {
    let pfn = new_page(cx, space, plan)?;
    let machine = cx.vm().machine();
    // SAFETY: the target was just allocated and nobody else has it; the source stays allocated by the reference. Who
    // shares the source may store to it meanwhile only through a shared mapping, where any mix is as good.
    unsafe { machine.copy_page(machine.frame(source), machine.frame(pfn)) };
    if M::guard(Guard::CopyTakesTags) {
        cx.copy_tags(source, pfn);
    }
    Ok(if replace(cx, space, plan, pfn, Some(source)) { Step::Done(FaultKind::Copied) } else { Step::Retry })
}

/// Installs the fresh page `pfn`, writable, in place of what the plan saw, whose translations are flushed before the
/// new entry appears: no CPU may see stores to the new page while another still loads from the old (D9). `source`: what
/// it was copied from.
fn replace<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, pfn: Pfn, source: Option<Pfn>) -> bool {
    let locked = commit(cx, space, plan);
    // A copy of a page that is mapped here needs no second look: its entry would have gone with it.
    let is_copy_of = |source: Pfn| !plan.word.is_empty() || is_still_shown(cx, plan, source);
    let Some(locked) = locked.filter(|_| source.is_none_or(is_copy_of)) else {
        drop_fresh(cx, pfn);
        return false;
    };
    let bits = bits_for::<M::Arch>(plan.attributes.prot, true, plan.access) | PageBits::EXCLUSIVE | plan.tag_bit();
    let word = Word::of_page(pfn, bits);
    if plan.word.is_empty() {
        locked.install(plan.index, word);
    } else if M::guard(Guard::CopyBreakBeforeMake) {
        let old = locked.take(plan.index);
        drop_flushed(cx, space, plan, old);
        locked.install(plan.index, word);
    } else {
        let old = locked.update(plan.index, |_| word).0;
        drop_flushed(cx, space, plan, old);
    }
    drop(locked);
    space.add_rss(cx, RssKind::Anonymous, 1);
    true
}

/// Whether page `pfn` is still one of the plan's object, and is not being taken away: it may have been truncated, or be in
/// a hole, since it was looked up (F11, F12, F14, F17). The leaf's lock is held.
fn is_still_shown<M: Machine>(cx: &Cx<'_, M>, plan: &Plan<'_, M>, pfn: Pfn) -> bool {
    let Some(object) = plan.attributes.object else { return true };
    // This first: who takes a page away has dropped it before he says that it is not going any more.
    // SAFETY: found in a class within this read-side section.
    let going = || is_going(unsafe { object.as_ref() }, plan.offset(M::Arch::PAGE_SHIFT));
    let is_going = M::guard(Guard::GoingAskedFirst) && going();
    let is_of = object::is_page_of(cx.vm().physical().frame(pfn), object) || !M::guard(Guard::CachedUnderLock);
    is_of && !is_going && (M::guard(Guard::GoingAskedFirst) || !going())
}

/// Whether page `index` is being taken from its object.
#[inline(always)]
fn is_going<M: Machine>(object: &object::Inner<M>, index: u64) -> bool {
    object.is_cut(index) && M::guard(Guard::CutUnderLock) || object.is_in_hole(index) && M::guard(Guard::HoleUnderLock)
}

/// Flushes the entry that the plan saw, which was `word` when it was removed, and drops its mapping.
fn drop_flushed<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, word: Word<M::Arch>) {
    cx.flush(space.id(), space.tlb(), Flush { start: plan.address, pages: 1, tables_freed: false });
    if word.bits().has(PageBits::SPECIAL) {
        return;
    }
    let old = word.pfn();
    space.add_rss(cx, rss_kind(cx, old), -1);
    if cx.drop_page_mapping(old) {
        cx.free_frame(old);
    }
}

/// A page is there, and did not allow the access, or no longer did when the CPU looked.
fn present<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>) -> Result<Step<M>, PageError> {
    let bits = plan.word.bits();
    if plan.access != Access::Write {
        let writable = bits.has(PageBits::WRITE);
        return Ok(grant(cx, space, plan, bits | bits_for::<M::Arch>(plan.attributes.prot, writable, plan.access)));
    }
    let granted = bits_for::<M::Arch>(plan.attributes.prot, true, plan.access);
    if !plan.attributes.is_private() || bits.has(PageBits::EXCLUSIVE) {
        return Ok(grant(cx, space, plan, bits | granted));
    }
    if bits.has(PageBits::SPECIAL) {
        let pfn = fresh_page(cx, space, plan)?;
        let done = replace(cx, space, plan, pfn, None);
        return Ok(if done { Step::Done(FaultKind::Anonymous) } else { Step::Retry });
    }
    let source = plan.word.pfn();
    let frame = cx.vm().physical().frame(source);
    if frame.kind() == Kind::Anonymous && frame.references() == 1 {
        return Ok(reuse(cx, space, plan, bits | granted | PageBits::EXCLUSIVE));
    }
    if !frame.try_get() {
        return Ok(Step::Retry);
    }
    // From here on the frame cannot become another page; that it did not before, the entry says, which still names it.
    let is_it = plan.leaf.entry(plan.index) == plan.word;
    // A page whose only other user is the swap cache need not be copied: it leaves the cache and is looked at again. The
    // slot is asked for first: another mapping is another user, too, and most pages have that instead.
    let is_nearly_alone = || frame.kind() == Kind::Anonymous && frame.swap_slot().is_some() && frame.references() == 3;
    let step = if is_it && !(is_nearly_alone() && super::swap_in::leave_cache(cx, source)) {
        copy_to(cx, space, plan, source)
    } else {
        Ok(Step::Retry)
    };
    if frame.put() {
        cx.free_frame(source);
    }
    step
}

/// Gives the entry the rights `bits`; spurious if it has them.
fn grant<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, bits: PageBits) -> Step<M> {
    let word = Word::of_page(plan.word.pfn(), bits);
    let kind =
        if bits.without(plan.word.bits()).has(PageBits::WRITE) { FaultKind::Reused } else { FaultKind::Spurious };
    if word != plan.word {
        let Some(locked) = commit(cx, space, plan) else { return Step::Retry };
        if locked.update(plan.index, |old| if old == plan.word { word } else { old }).0 != plan.word {
            return Step::Retry;
        }
    }
    // The CPU may still have the translation that did not allow it (A14).
    cx.flush_spurious(space.id(), plan.address);
    Step::Done(kind)
}

/// Makes an anonymous page, whose only user the entry seems to be, writable and exclusive.
fn reuse<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, bits: PageBits) -> Step<M> {
    let pfn = plan.word.pfn();
    let word = Word::of_page(pfn, bits);
    let Some(locked) = commit(cx, space, plan) else { return Step::Retry };
    // Under the lock the entry's own reference pins the frame, and nobody can take another from the entry. Before, the
    // frame may have been another page, which the entry did not show.
    let frame = cx.vm().physical().frame(pfn);
    if frame.kind() != Kind::Anonymous || frame.references() != 1 && M::guard(Guard::ReuseRecounted) {
        return Step::Retry;
    }
    if locked.update(plan.index, |old| if old == plan.word { word } else { old }).0 != plan.word {
        return Step::Retry;
    }
    drop(locked);
    cx.flush_spurious(space.id(), plan.address);
    Step::Done(FaultKind::Reused)
}
