//! The registry of counted classes: finding the one with some attributes, and giving it up.

use super::attributes::COMMITTED;
use super::record::{Record, Records};
use super::table::Table;
use super::{Attributes, ClassId, Extent};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::BootMemory;
use crate::placed::Placed;
use crate::structure::{Structure, holds};
use crate::sync::{AtomicU32, AtomicU64, LockGuard, Rank, RawLock};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// The most parts that the registry has. There are as many as CPUs, so that those of different spaces meet seldom.
const PARTS: usize = 64;

/// The registry of counted classes.
pub(crate) struct Classes<M> {
    pub(super) records: Records<M>,
    parts: Placed<[Part<M>]>,
}

/// A part of the registry, with all counted classes of some spaces.
#[repr(align(64))]
struct Part<M> {
    lock: RawLock<M>,
    table: Table<M>,
    /// Queue of records given up: oldest and youngest.
    queue_head: AtomicU32<M>,
    queue_tail: AtomicU32<M>,
    /// The lock of the chains of some objects.
    chains: RawLock<M>,
}

impl<M: Machine> Classes<M> {
    /// An empty one for `cpus` CPUs, if there is memory.
    pub(crate) fn new(boot: &mut BootMemory<'_, M>, cpus: usize) -> Option<Self> {
        let parts = boot.place_all(cpus.next_power_of_two().min(PARTS), |_| Part::new())?;
        Some(Classes { records: Records::new(), parts })
    }

    /// Whether `address` lies in the registry, frames of records and of buckets apart.
    pub(crate) fn holds(&self, address: usize) -> bool {
        holds(self, address) || holds(&*self.parts, address)
    }
}

impl<M: Machine> Part<M> {
    const fn new() -> Self {
        Part {
            lock: RawLock::new(),
            table: Table::new(),
            queue_head: AtomicU32::new(0),
            queue_tail: AtomicU32::new(0),
            chains: RawLock::new(),
        }
    }

    /// Queues a record for reuse after a grace period.
    fn give_up(&self, cx: &Cx<'_, M>, id: ClassId, record: &Record<M>) {
        record.linked.store(0, Relaxed);
        record.next.store(0, Relaxed);
        record.epoch.store(cx.vm().epoch().retire(), Relaxed);
        match cx.record(ClassId(self.queue_tail.load(Relaxed))) {
            Some(last) => last.next.store(id.0, Relaxed),
            None => self.queue_head.store(id.0, Relaxed),
        }
        self.queue_tail.store(id.0, Relaxed);
    }

    /// An unused record: the oldest given up whose grace period is over, else a new one.
    fn fresh_record(&self, cx: &Cx<'_, M>) -> Result<ClassId, Error> {
        let oldest = ClassId(self.queue_head.load(Relaxed));
        if let Some(record) = cx.record(oldest)
            && (record.epoch.load(Relaxed) + 2 <= cx.vm().epoch().now() || !M::guard(Guard::GracePeriod))
        {
            self.queue_head.store(record.next.load(Relaxed), Relaxed);
            if self.queue_tail.load(Relaxed) == oldest.0 {
                self.queue_tail.store(0, Relaxed);
            }
            return Ok(oldest);
        }
        cx.vm().classes().records.fresh(cx)
    }
}

impl<M: Machine> Cx<'_, M> {
    /// The class with `attributes`, held once by the caller, who lets slots of `extent` say it: every successful call
    /// wants a [`Cx::release_class`] of 1. May allocate; takes locks of the registry for classes with a record.
    #[inline(always)]
    pub(crate) fn intern(&self, attributes: &Attributes<M>, extent: Extent) -> Result<ClassId, Error> {
        match attributes.plain() {
            Some(plain) => Ok(plain),
            None => self.intern_stored(attributes, extent),
        }
    }

    #[inline(never)]
    fn intern_stored(&self, attributes: &Attributes<M>, extent: Extent) -> Result<ClassId, Error> {
        let part = self.part_of(attributes);
        let hash = attributes.hash();
        let _guard = part.lock.lock(self, Rank::Classes);
        // The youngest class of the place: buckets, as chains, have the youngest first.
        let mut sibling = None;
        let found = part.table.find(self, hash, |id, record| {
            let known = record.attributes();
            if known == *attributes {
                record.count.fetch_add(1, Relaxed);
                return Some((id, record));
            }
            if sibling.is_none() && attributes.leads_where(&known) && M::guard(Guard::PlacesTogether) {
                sibling = Some((id, record));
            }
            None
        });
        if let Some((id, record)) = found {
            self.widen(part, hash, record, extent);
            return Ok(id);
        }
        let id = part.fresh_record(self)?;
        let record = self.record(id).ok_or(Error::OutOfMemory)?;
        let extent = match sibling {
            Some((_, sibling)) => self.widen(part, hash, sibling, extent),
            None => extent,
        };
        record.write(attributes, extent);
        part.table.insert(self, hash, id, record);
        if let Some(object) = attributes.object {
            // SAFETY: the caller holds a reference to the object it asks for.
            unsafe { object.as_ref() }.get();
        }
        self.chain(id, record, attributes, sibling);
        Ok(id)
    }

    /// Has the classes of the place of one of them, whose hash that is, reach over `extent`, too; over what they reach
    /// then. Under the lock of their part.
    fn widen(&self, part: &Part<M>, hash: usize, one: &Record<M>, extent: Extent) -> Extent {
        let known = one.extent();
        if known.covers(extent) {
            return known;
        }
        let (joined, place) = (known.join(extent), one.attributes());
        let is_of_place = |record: &Record<M>| core::ptr::eq(record, one) || place.leads_where(&record.attributes());
        part.table.find(self, hash, |_, record| -> Option<()> {
            if is_of_place(record) {
                record.set_extent(joined);
            }
            None
        });
        joined
    }

    /// Where slots may say class `id`; of no meaning for one that does not lead anywhere.
    pub(crate) fn extent_of(&self, id: ClassId) -> Extent {
        self.record(id).map_or(Extent::NONE, Record::extent)
    }

    /// The part of the registry that has classes with `attributes`: that of their space, if they are of one.
    fn part_of(&self, attributes: &Attributes<M>) -> &Part<M> {
        self.part(attributes.part())
    }

    fn part(&self, number: usize) -> &Part<M> {
        let parts = &self.vm().classes().parts;
        &parts[number & (parts.len() - 1)]
    }

    /// Takes the lock of the chain of the classes that show `object`.
    pub(super) fn lock_classes_of(&self, object: &object::Inner<M>) -> LockGuard<'_, M> {
        self.part(object.id() as usize).chains.lock(self, Rank::ClassesOfObject)
    }

    /// The class with `attributes`, which exists: the caller holds it. Not held once more.
    pub(crate) fn known_class(&self, attributes: &Attributes<M>) -> ClassId {
        if let Some(plain) = attributes.plain() {
            return plain;
        }
        match self.intern(attributes, Extent::NONE) {
            Ok(id) => {
                self.release_class(id, 1);
                id
            }
            Err(_) => unreachable!("a held class needs no allocation"),
        }
    }

    /// Counts `slots` more slots of class `id`, which the caller holds or sees counted under a table lock.
    #[inline(always)]
    pub(crate) fn retain_class(&self, id: ClassId, slots: u64) {
        if id.is_stored()
            && let Some(record) = self.record(id)
        {
            record.count.fetch_add(slots, Relaxed);
        }
    }

    /// Ends the counting of `slots` slots, of `pages` pages each, for class `old`. They pass to class `new`, which is
    /// held, or counts them already: but for what is committed, of which the difference is counted here.
    #[inline(always)]
    pub(crate) fn end_slots(&self, old: ClassId, new: ClassId, slots: u64, pages: u64) {
        if ClassId(old.0 | new.0).is_stored() {
            self.end_stored_slots(old, new, slots, pages);
        } else if (old.0 ^ new.0) & COMMITTED != 0 {
            let pages = (slots * pages) as i64;
            self.commit_pages(if new.is_plain_committed() { pages } else { -pages });
        }
    }

    #[inline(never)]
    fn end_stored_slots(&self, old: ClassId, new: ClassId, slots: u64, pages: u64) {
        let pages = (slots * pages) as i64;
        match (self.is_committed(old), self.is_committed(new)) {
            (false, true) => self.commit_pages(pages),
            (true, false) => self.commit_pages(-pages),
            _ => {}
        }
        self.release_class(old, slots);
    }

    /// Whether the pages of class `id` count as committed; not of [`ClassId::NONE`].
    pub(crate) fn is_committed(&self, id: ClassId) -> bool {
        if id.is_stored() { self.stored_attributes(id).is_committed() } else { id.is_plain_committed() }
    }

    /// Counts `slots` fewer. A class without any is given up, and its object put.
    #[inline(always)]
    pub(crate) fn release_class(&self, id: ClassId, slots: u64) {
        if id.is_stored() {
            self.release_stored(id, slots);
        }
    }

    fn release_stored(&self, id: ClassId, slots: u64) {
        let Some(record) = self.record(id) else { return };
        if record.count.fetch_sub(slots, AcqRel) != slots {
            return;
        }
        let attributes = record.attributes();
        let part = self.part_of(&attributes);
        {
            let _guard = part.lock.lock(self, Rank::Classes);
            // A mapping may have come that says the class.
            let is_used = record.count.load(Acquire) != 0 && M::guard(Guard::ClassUnderLock);
            if is_used || record.linked.load(Relaxed) == 0 {
                return;
            }
            part.table.remove(self, attributes.hash(), id, record);
            self.unchain(record, &attributes);
            // Last: whoever finds it on a chain has entered before that.
            part.give_up(self, id, record);
        }
        if let Some(object) = attributes.object {
            self.put_object(object);
        }
    }

    /// Calls `visit` with each counted class in use and its count. At quiescence.
    pub(crate) fn each_class(&self, mut visit: impl FnMut(ClassId, u64)) {
        for id in self.vm().classes().records.ever_used() {
            if let Some(record) = self.record(ClassId(id))
                && record.linked.load(Relaxed) != 0
            {
                visit(ClassId(id), record.count.load(Relaxed));
            }
        }
    }

    /// What of the registry's frames lies at `address`.
    pub(crate) fn class_structure_at(&self, address: usize) -> Option<Structure> {
        let classes = self.vm().classes();
        let of = |id: &u32| self.record(ClassId(*id)).is_some_and(|record| holds(record, address));
        let is_bucket = || classes.parts.iter().any(|part| part.table.has_bucket_at(self, address));
        let record = classes.records.ever_used().find(of).map(Structure::ClassRecord);
        record.or_else(|| is_bucket().then_some(Structure::ClassBuckets))
    }

    /// The tally word of class `id` for the audit, unused while a class is linked: `None` for one that is not, or has
    /// no record.
    pub(crate) fn class_tally(&self, id: ClassId) -> Option<&AtomicU64<M>> {
        self.record(id).filter(|record| record.linked.load(Relaxed) != 0).map(|record| &record.epoch)
    }
}

#[cfg(test)]
impl<M: Machine> Cx<'_, M> {
    /// How many buckets the part of the registry with the classes of `attributes` has.
    pub(super) fn buckets_for(&self, attributes: &Attributes<M>) -> u32 {
        self.part_of(attributes).table.length()
    }
}
