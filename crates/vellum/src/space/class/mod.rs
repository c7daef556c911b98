//! Attribute classes: what a slot maps, without where.
//!
//! A class is an interned, immutable record of protection, flags, memory policy, object and the difference between
//! addresses and offsets in the object. Equal attributes have equal identities in the whole machine. The classes of
//! plain private anonymous memory have identities which *are* their attributes: they need no record, no count and no
//! lookup. Every other class is a counted record: the count is the number of slots of all tables that say it, plus what
//! operations in progress hold. A record is reused after a grace period, so an identity read without a lock stays
//! meaningful.
//!
//! The classes that show an object, and those of moved anonymous memory, are of one space each and stand on the chain
//! of that space and, if they have one, of the object: so the classes are what reverse mapping finds a page's addresses
//! by, and need no second structure that says who maps what. They leave the chains with their last slot. Chains change
//! under the registry's lock; readers follow them without, within a read-side section.
//!
//! Classes that lead to one *place* stand side by side, those that are equal but for what may change in place: rights,
//! advice, policy. The first class of a place comes to the head of the chain, each further one in front of those of its
//! place. So who follows a chain once, from the head as he finds it to the end, meets each place that has a class all
//! the time, however often slots there change their class, and comes to an end, however often they do (B22).
//!
//! *Meets each place.* As long as the classes of a place lie ahead of the reader, so do those that come, since they come
//! in front of the first of them, and he is not between two. If he stands on a record that has left the chain, he sees
//! what followed as it was when that left: what he sees is of a time no earlier than what he has seen before.
//!
//! *Comes to an end.* No place comes ahead of him, only to the head. Of a place ahead he meets the classes that are there
//! when he gets to it, and none that come later.

use crate::arch::{Arch, Prot, flag_set};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::{AllocFlags, Kind, Pfn, Policy};
use crate::space::Inner;
use crate::structure::{Structure, holds};
use crate::sync::{AtomicU32, AtomicU64, Rank, RawLock};
use core::ops::ControlFlow;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// The identity of a class; 0 is "not mapped".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClassId(pub(crate) u32);

flag_set! {
    /// Properties of a mapping beside its protection.
    ClassFlags: u16 {
        /// Extends downwards by faults below it.
        GROWS_DOWN = 1;
        /// No memory is reserved for it.
        NO_RESERVE = 2;
        /// Children of fork do not get it.
        DONT_FORK = 4;
        /// Children of fork get it empty.
        WIPE_ON_FORK = 8;
        /// Expected to be read in order.
        SEQUENTIAL = 16;
        /// Expected to be read out of order.
        RANDOM = 32;
        /// Every access faults, and nothing is shown. Of a slot, not of its mapping: neighbours that differ in nothing else are
        /// one mapping.
        GUARD = 64;
        /// Stores go to the object.
        SHARED = 128;
        /// Accesses are checked against memory tags.
        TAGGED = 256;
        /// Not part of a core dump.
        DONT_DUMP = 512;
        /// Its pages count as committed; see [`crate::overcommit`]. Private mappings have it that may be stored to, and
        /// keep it.
        COMMITTED = 1024;
    }
}

/// The flags that a class without a record may have: the lowest ones, and one.
const PLAIN_FLAGS: u16 = 0x7f | ClassFlags::COMMITTED.0;
/// In the identity of a class without a record, above its flags and rights.
const PLAIN: u32 = 1 << (16 - PLAIN_FLAGS.leading_zeros() + FLAGS_SHIFT);
/// Where the flags begin in such an identity.
const FLAGS_SHIFT: u32 = 3;
/// In such an identity.
const COMMITTED: u32 = (ClassFlags::COMMITTED.0 as u32) << FLAGS_SHIFT;
const NO_RESERVE: u32 = (ClassFlags::NO_RESERVE.0 as u32) << FLAGS_SHIFT;
/// Where the policy's 24 bits begin in a record.
const POLICY_SHIFT: u32 = 32;
/// First identity with a record: a power of two, above all others.
const STORED: u32 = PLAIN << 1;

/// What a class says.
pub(crate) struct Attributes<M: Machine> {
    pub(crate) prot: Prot,
    /// The most that protect may grant.
    pub(crate) max_prot: Prot,
    pub(crate) flags: ClassFlags,
    /// From which node private memory comes.
    pub(crate) policy: Policy,
    /// What is shown; `None` for private anonymous memory.
    pub(crate) object: Option<NonNull<object::Inner<M>>>,
    /// Page number of an address less this, wrapping, is the page's offset in the object, or its anonymous offset.
    pub(crate) delta: u64,
    /// The space, where reverse mapping must find it by the class: of an object, or of moved anonymous memory. See
    /// [`Attributes::within`].
    pub(crate) space: Option<NonNull<Inner<M>>>,
}

impl<M: Machine> Clone for Attributes<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for Attributes<M> {}

impl<M: Machine> PartialEq for Attributes<M> {
    fn eq(&self, other: &Self) -> bool {
        self.prot == other.prot
            && self.max_prot == other.max_prot
            && self.flags == other.flags
            && self.policy == other.policy
            && self.object == other.object
            && self.delta == other.delta
            && self.space == other.space
    }
}

impl<M: Machine> Attributes<M> {
    /// These attributes, in `space`.
    pub(crate) fn within(mut self, space: &Inner<M>) -> Self {
        self.space = (self.object.is_some() || self.delta != 0).then(|| NonNull::from(space));
        self
    }

    /// These attributes, committed if they have to be: where programs may store what is then theirs alone.
    pub(crate) fn committed(mut self) -> Self {
        if self.prot.has(Prot::WRITE) && !self.flags.has_any(ClassFlags::SHARED | ClassFlags::NO_RESERVE) {
            self.flags = self.flags | ClassFlags::COMMITTED;
        }
        self
    }

    /// Whether stores stay in the space.
    #[inline(always)]
    pub(crate) fn is_private(&self) -> bool {
        !self.flags.has(ClassFlags::SHARED)
    }

    /// Whether accesses fault, whatever the rights.
    #[inline(always)]
    pub(crate) fn is_guarded(&self) -> bool {
        self.flags.has(ClassFlags::GUARD)
    }

    /// What the mapping says, without the guards that lie in it.
    pub(crate) fn unguarded(mut self) -> Self {
        self.flags = self.flags.without(ClassFlags::GUARD);
        self
    }

    /// Whether its pages count as committed.
    #[inline(always)]
    pub(crate) fn is_committed(&self) -> bool {
        self.flags.has(ClassFlags::COMMITTED)
    }

    /// Whether pages are committed that become this, and were `old`.
    #[inline(always)]
    pub(crate) fn commits_more(&self, old: &Self) -> bool {
        self.is_committed() && !old.is_committed()
    }

    /// The identity, if it needs no record.
    #[inline(always)]
    fn plain(&self) -> Option<ClassId> {
        let plain = self.object.is_none()
            && self.delta == 0
            && self.max_prot.0 == 7
            && self.flags.0 & !PLAIN_FLAGS == 0
            && self.policy.is_local();
        plain.then_some(ClassId(PLAIN | self.prot.0 as u32 | (self.flags.0 as u32) << FLAGS_SHIFT))
    }

    fn bits(&self) -> u64 {
        self.prot.0 as u64
            | (self.max_prot.0 as u64) << 8
            | (self.flags.0 as u64) << 16
            | (self.policy.to_bits() as u64) << POLICY_SHIFT
    }

    /// Whether the two lead to the same place, where reverse mapping looks for the same pages.
    fn leads_where(&self, other: &Self) -> bool {
        let place = |class: &Self| (class.space, class.object, class.delta, class.is_private());
        self.space.is_some() && place(self) == place(other)
    }

    /// By identities, not addresses: where something lies in memory does not decide what the core does. Classes that lead
    /// to one place have one hash, so that they find each other.
    fn hash(&self) -> usize {
        // SAFETY: the class has a reference to its object, and slots of its space or an operation in it; whoever is
        // about to make the class has both.
        let (object, space) = unsafe {
            (self.object.map_or(0, |object| object.as_ref().id()), self.space.map_or(0, |space| space.as_ref().id()))
        };
        let bits = if self.space.is_some() { 0 } else { self.bits() };
        let mix = (bits ^ object.rotate_left(20) ^ self.delta.rotate_left(40) ^ space.rotate_left(50))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mix >> 40) as usize
    }
}

impl ClassId {
    /// Not mapped.
    pub(crate) const NONE: ClassId = ClassId(0);

    /// The class of private anonymous memory with rights `prot`.
    #[inline(always)]
    pub(crate) fn plain(prot: Prot) -> ClassId {
        ClassId(PLAIN).plain_with_prot(prot)
    }

    /// This class, one without a record, with other rights; committed as [`Attributes::committed`] says.
    #[inline(always)]
    pub(crate) fn plain_with_prot(self, prot: Prot) -> ClassId {
        const { assert!(NO_RESERVE >> FLAGS_SHIFT == Prot::WRITE.0 as u32) };
        let class = self.0 & !7 | prot.0 as u32;
        // Without a branch: the right to write, unless nothing is reserved, at the place of the flag.
        let is_to_be = class & !(class >> FLAGS_SHIFT) & Prot::WRITE.0 as u32;
        ClassId(class | is_to_be << (COMMITTED.trailing_zeros() - NO_RESERVE.trailing_zeros() + FLAGS_SHIFT))
    }

    /// Whether the pages of this class, one without a record or none, count as committed.
    #[inline(always)]
    pub(crate) fn is_plain_committed(self) -> bool {
        self.0 & COMMITTED != 0
    }

    /// Whether pages are committed that become this, and were of class `old`; both have no record.
    #[inline(always)]
    pub(crate) fn commits_more(self, old: ClassId) -> bool {
        self.0 & !old.0 & COMMITTED != 0
    }

    /// Whether the class has a record and is counted.
    #[inline(always)]
    pub(crate) fn is_stored(self) -> bool {
        self.0 >= STORED
    }
}

/// A counted class, a cache line and the links of its chains.
#[repr(C, align(64))]
struct Record<M> {
    bits: AtomicU64<M>,
    object: AtomicU64<M>,
    delta: AtomicU64<M>,
    count: AtomicU64<M>,
    /// Epoch in which it was given up.
    epoch: AtomicU64<M>,
    /// Address of the space; 0 for none.
    space: AtomicU64<M>,
    /// Next of the hash chain, or of the queue of records given up; identity, 0 ends it.
    next: AtomicU32<M>,
    linked: AtomicU32<M>,
    /// Neighbours on the chain of the object, and on that of the space.
    links: [Links<M>; 2],
}

/// A record's neighbours on a chain; identities, 0 for none. `next` stays as it was while readers may stand here.
struct Links<M> {
    next: AtomicU32<M>,
    previous: AtomicU32<M>,
}

impl<M> Record<M> {
    fn links(&self, chain: Chain) -> &Links<M> {
        &self.links[chain as usize]
    }
}

impl<M: Machine> Record<M> {
    fn attributes(&self) -> Attributes<M> {
        let bits = self.bits.load(Relaxed);
        Attributes {
            prot: Prot(bits as u8 & 7),
            max_prot: Prot((bits >> 8) as u8 & 7),
            flags: ClassFlags((bits >> 16) as u16),
            policy: Policy::from_bits((bits >> POLICY_SHIFT) as u32),
            object: NonNull::new(core::ptr::with_exposed_provenance_mut(self.object.load(Relaxed) as usize)),
            delta: self.delta.load(Relaxed),
            space: space_at(self.space.load(Relaxed)),
        }
    }
}

/// The registry of counted classes.
pub(crate) struct Classes<M> {
    lock: RawLock<M>,
    /// Frame + 1 of the top of the record tree, which is two levels of frame numbers + 1 above frames of records.
    root: AtomicU64<M>,
    /// Frame + 1 of the hash buckets.
    buckets: AtomicU64<M>,
    /// First identity never used.
    fresh: AtomicU32<M>,
    /// Queue of records given up: oldest and youngest.
    queue_head: AtomicU32<M>,
    queue_tail: AtomicU32<M>,
}

impl<M: Machine> Classes<M> {
    pub(crate) const fn new() -> Self {
        Classes {
            lock: RawLock::new(),
            root: AtomicU64::new(0),
            buckets: AtomicU64::new(0),
            fresh: AtomicU32::new(STORED),
            queue_head: AtomicU32::new(0),
            queue_tail: AtomicU32::new(0),
        }
    }
}

impl<M: Machine> Cx<'_, M> {
    /// What class `id`, which is not [`ClassId::NONE`], says.
    #[inline(always)]
    pub(crate) fn attributes(&self, id: ClassId) -> Attributes<M> {
        if id.is_stored() {
            return self.stored_attributes(id);
        }
        Attributes {
            prot: Prot(id.0 as u8 & 7),
            max_prot: Prot(7),
            flags: ClassFlags((id.0 >> FLAGS_SHIFT) as u16 & PLAIN_FLAGS),
            policy: Policy::Local,
            object: None,
            delta: 0,
            space: None,
        }
    }

    /// Whether neighbouring slots of two classes are one mapping: guards do not divide it.
    pub(crate) fn is_one_mapping(&self, one: ClassId, other: ClassId) -> bool {
        one == other
            || one != ClassId::NONE
                && other != ClassId::NONE
                && self.attributes(one).unguarded() == self.attributes(other).unguarded()
    }

    fn stored_attributes(&self, id: ClassId) -> Attributes<M> {
        // Without a record it was a torn read; the sequence count will say so.
        self.record(id).map_or(
            Attributes {
                prot: Prot::NONE,
                max_prot: Prot::NONE,
                flags: ClassFlags::NONE,
                policy: Policy::Local,
                object: None,
                delta: 0,
                space: None,
            },
            Record::attributes,
        )
    }

    /// The class with `attributes`, held once by the caller: every successful call wants a
    /// [`Cx::release_class`] of 1. May allocate; takes the registry's lock for classes with a record.
    #[inline(always)]
    pub(crate) fn intern(&self, attributes: &Attributes<M>) -> Result<ClassId, Error> {
        match attributes.plain() {
            Some(plain) => Ok(plain),
            None => self.intern_stored(attributes),
        }
    }

    #[inline(never)]
    fn intern_stored(&self, attributes: &Attributes<M>) -> Result<ClassId, Error> {
        let classes = self.vm().classes();
        let _guard = classes.lock.lock(self, Rank::Classes);
        let buckets = self.buckets()?;
        let bucket = &buckets[attributes.hash() % buckets.len()];
        let mut id = ClassId(bucket.load(Relaxed));
        // The youngest class of the place: buckets, as chains, have the youngest first.
        let mut sibling = None;
        while let Some(record) = self.record(id) {
            let known = record.attributes();
            if known == *attributes {
                record.count.fetch_add(1, Relaxed);
                return Ok(id);
            }
            if sibling.is_none() && attributes.leads_where(&known) && M::guard(Guard::PlacesTogether) {
                sibling = Some((id, record));
            }
            id = ClassId(record.next.load(Relaxed));
        }
        let id = self.fresh_record()?;
        let record = self.record(id).ok_or(Error::OutOfMemory)?;
        record.bits.store(attributes.bits(), Relaxed);
        record.object.store(attributes.object.map_or(0, |object| object.as_ptr().expose_provenance() as u64), Relaxed);
        record.delta.store(attributes.delta, Relaxed);
        record.space.store(attributes.space.map_or(0, |space| space.as_ptr().expose_provenance() as u64), Relaxed);
        record.count.store(1, Relaxed);
        record.linked.store(1, Relaxed);
        record.next.store(bucket.load(Relaxed), Relaxed);
        bucket.store(id.0, Release);
        if let Some(object) = attributes.object {
            // SAFETY: the caller holds a reference to the object it asks for.
            unsafe { object.as_ref() }.get();
        }
        self.chain(id, record, attributes, sibling);
        Ok(id)
    }

    /// Puts a new record on the chains it belongs to: in front of `sibling`, the first of its place, or at the head.
    fn chain(
        &self,
        id: ClassId,
        record: &Record<M>,
        attributes: &Attributes<M>,
        sibling: Option<(ClassId, &Record<M>)>,
    ) {
        for chain in Chain::BOTH {
            let Some(head) = chain.head(attributes) else { continue };
            let links = record.links(chain);
            let (next, previous) = match sibling {
                Some((first, sibling)) => (first, ClassId(sibling.links(chain).previous.load(Relaxed))),
                None => (ClassId(head.load(Relaxed)), ClassId::NONE),
            };
            links.next.store(next.0, Relaxed);
            links.previous.store(previous.0, Relaxed);
            if let Some(next) = self.record(next) {
                next.links(chain).previous.store(id.0, Relaxed);
            }
            // Sequentially consistent: a walk that looks for pages of this class is to find it, if it looks after the
            // pages came (F4).
            self.record(previous).map_or(head, |previous| &previous.links(chain).next).swap(id.0, SeqCst);
        }
    }

    /// Takes a record off its chains. Readers that stand there go on to what followed.
    fn unchain(&self, record: &Record<M>, attributes: &Attributes<M>) {
        for chain in Chain::BOTH {
            let Some(head) = chain.head(attributes) else { continue };
            let links = record.links(chain);
            let (next, previous) = (links.next.load(Relaxed), links.previous.load(Relaxed));
            match self.record(ClassId(previous)) {
                Some(previous) => previous.links(chain).next.store(next, Release),
                None => head.store(next, Release),
            }
            if let Some(next) = self.record(ClassId(next)) {
                next.links(chain).previous.store(previous, Relaxed);
            }
        }
    }

    /// Calls `visit` with each class that shows `object`, until it breaks off; as [`Cx::each_class_within`].
    #[inline(always)]
    pub(crate) fn each_class_of(
        &self,
        object: &object::Inner<M>,
        visit: &mut dyn FnMut(&Attributes<M>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.each_chained(Chain::Object, &object.classes, visit)
    }

    /// Calls `visit` with each class of `space` that shows an object or moved memory, until it breaks off; those that lead
    /// to one place one after the other. The chain may change meanwhile: a place that has a class of the chain from before
    /// to the end is visited, be it by another class than before. Ends, whatever comes: see the module.
    #[inline(always)]
    pub(crate) fn each_class_within(
        &self,
        space: &Inner<M>,
        visit: &mut dyn FnMut(&Attributes<M>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.each_chained(Chain::Space, &space.classes, visit)
    }

    /// Follows a chain from its head.
    #[inline(always)]
    fn each_chained(
        &self,
        chain: Chain,
        head: &AtomicU32<M>,
        visit: &mut dyn FnMut(&Attributes<M>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut id = ClassId(head.load(SeqCst));
        while let Some(record) = self.record(id) {
            visit(&record.attributes())?;
            id = ClassId(record.links(chain).next.load(SeqCst));
        }
        ControlFlow::Continue(())
    }

    /// The class with `attributes`, which exists: the caller holds it. Not held once more.
    pub(crate) fn known_class(&self, attributes: &Attributes<M>) -> ClassId {
        if let Some(plain) = attributes.plain() {
            return plain;
        }
        match self.intern(attributes) {
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

    /// Ends the counting of `slots` slots, of `pages` pages each, for class `old`. They pass to class `new`, which is held, or
    /// counts them already: but for what is committed, of which the difference is counted here.
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
        let classes = self.vm().classes();
        let object = {
            let _guard = classes.lock.lock(self, Rank::Classes);
            // A mapping may have come that says the class.
            let is_used = record.count.load(Acquire) != 0 && M::guard(Guard::ClassUnderLock);
            if is_used || record.linked.load(Relaxed) == 0 {
                return;
            }
            self.unlink(id, record);
            let attributes = self.stored_attributes(id);
            self.unchain(record, &attributes);
            attributes.object
        };
        if let Some(object) = object {
            self.put_object(object);
        }
    }

    /// Takes a record out of its hash chain and queues it for reuse.
    fn unlink(&self, id: ClassId, record: &Record<M>) {
        let classes = self.vm().classes();
        let Ok(buckets) = self.buckets() else { return };
        let bucket = &buckets[self.stored_attributes(id).hash() % buckets.len()];
        let mut link = bucket;
        while link.load(Relaxed) != id.0 {
            let Some(previous) = self.record(ClassId(link.load(Relaxed))) else { return };
            link = &previous.next;
        }
        link.store(record.next.load(Relaxed), Relaxed);
        record.linked.store(0, Relaxed);
        record.next.store(0, Relaxed);
        record.epoch.store(self.vm().epoch().retire(), Relaxed);
        match self.record(ClassId(classes.queue_tail.load(Relaxed))) {
            Some(last) => last.next.store(id.0, Relaxed),
            None => classes.queue_head.store(id.0, Relaxed),
        }
        classes.queue_tail.store(id.0, Relaxed);
    }

    /// An unused record: the oldest given up whose grace period is over, else a new one. Under the lock.
    fn fresh_record(&self) -> Result<ClassId, Error> {
        let classes = self.vm().classes();
        let oldest = ClassId(classes.queue_head.load(Relaxed));
        if let Some(record) = self.record(oldest)
            && (record.epoch.load(Relaxed) + 2 <= self.vm().epoch().now() || !M::guard(Guard::GracePeriod))
        {
            classes.queue_head.store(record.next.load(Relaxed), Relaxed);
            if classes.queue_tail.load(Relaxed) == oldest.0 {
                classes.queue_tail.store(0, Relaxed);
            }
            return Ok(oldest);
        }
        let id = ClassId(classes.fresh.load(Relaxed));
        self.grow(id)?;
        classes.fresh.store(id.0 + 1, Relaxed);
        Ok(id)
    }

    /// Makes sure that class `id` has memory for its record.
    fn grow(&self, id: ClassId) -> Result<(), Error> {
        let [top, middle, _] = Self::record_path(id);
        let root = self.table_frame(&self.vm().classes().root)?;
        let slot = root.get(top).ok_or(Error::OutOfMemory)?;
        let middle_table = self.table_frame(slot)?;
        self.table_frame(&middle_table[middle]).map(|_| ())
    }

    /// The frame `link` names, allocated if it names none yet, as words.
    fn table_frame(&self, link: &AtomicU64<M>) -> Result<&[AtomicU64<M>], Error> {
        if link.load(Relaxed) == 0 {
            let pfn = self.alloc_zeroed(0, AllocFlags::NONE)?;
            self.vm().physical().frame(pfn).set_kind(Kind::Reserved, 0);
            link.store(pfn.0 + 1, Release);
        }
        Ok(self.words_of(link).unwrap_or(&[]))
    }

    fn words_of(&self, link: &AtomicU64<M>) -> Option<&[AtomicU64<M>]> {
        let pfn = Pfn(link.load(Acquire).checked_sub(1)?);
        let words = (1usize << M::Arch::PAGE_SHIFT) / 8;
        // SAFETY: the registry's frames are never freed, hold words, and are accessed only atomically.
        Some(unsafe { core::slice::from_raw_parts(self.vm().machine().frame(pfn).cast(), words) })
    }

    fn buckets(&self) -> Result<&[AtomicU32<M>], Error> {
        let words = self.table_frame(&self.vm().classes().buckets)?;
        // SAFETY: the frame is used as buckets only; two `u32`s fit each of its words.
        Ok(unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 2) })
    }

    /// Where the record of `id` lies: index in the root, in the middle table, in the frame of records.
    fn record_path(id: ClassId) -> [usize; 3] {
        let place = (id.0 - STORED) as usize;
        let page = 1usize << M::Arch::PAGE_SHIFT;
        let (records, words) = (page / size_of::<Record<M>>(), page / 8);
        [place / records / words, place / records % words, place % records]
    }

    #[inline(always)]
    fn record(&self, id: ClassId) -> Option<&Record<M>> {
        if !id.is_stored() {
            return None;
        }
        let [top, middle, place] = Self::record_path(id);
        let middle_table = self.words_of(self.words_of(&self.vm().classes().root)?.get(top)?)?;
        let pfn = Pfn(middle_table.get(middle)?.load(Acquire).checked_sub(1)?);
        // SAFETY: a frame of records, zeroed when it was allocated and never freed; `place` is within it.
        Some(unsafe { &*self.vm().machine().frame(pfn).cast::<Record<M>>().add(place) })
    }

    /// Calls `visit` with each counted class in use and its count. At quiescence.
    pub(crate) fn each_class(&self, mut visit: impl FnMut(ClassId, u64)) {
        for id in STORED..self.vm().classes().fresh.load(Relaxed) {
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
        let is_bucket = || {
            let buckets = self.words_of(&classes.buckets);
            buckets.is_some_and(|words| words.iter().any(|word| holds(word, address)))
        };
        let record = (STORED..classes.fresh.load(Relaxed)).find(of).map(Structure::ClassRecord);
        record.or_else(|| is_bucket().then_some(Structure::ClassBuckets))
    }

    /// The tally word of class `id` for the audit, unused while a class is linked: `None` for one that is not, or has
    /// no record.
    pub(crate) fn class_tally(&self, id: ClassId) -> Option<&AtomicU64<M>> {
        self.record(id).filter(|record| record.linked.load(Relaxed) != 0).map(|record| &record.epoch)
    }
}

/// The space at `address`, 0 for none.
fn space_at<M: Machine>(address: u64) -> Option<NonNull<Inner<M>>> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
}

/// What a class with a space stands on.
#[derive(Clone, Copy)]
enum Chain {
    /// The classes that show one object.
    Object,
    /// The classes of one space.
    Space,
}

impl Chain {
    const BOTH: [Chain; 2] = [Chain::Object, Chain::Space];

    /// Where the chain begins that a class with `attributes` is on, which is counted or being made; `None` if it is on
    /// none of this sort.
    fn head<M: Machine>(self, attributes: &Attributes<M>) -> Option<&AtomicU32<M>> {
        let space = attributes.space?;
        // SAFETY: the class has a reference to its object, and slots of its space or an operation in it; whoever is
        // about to make the class has both.
        unsafe {
            match self {
                Chain::Object => attributes.object.map(|object| &object.as_ref().classes),
                Chain::Space => Some(&space.as_ref().classes),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributes, ClassFlags};
    use crate::arch::Prot;
    use crate::cpu::Cx;
    use crate::object::Object;
    use crate::ops::{MapRequest, Place, Sharing};
    use crate::space::{ClassId, Space};
    use crate::testing::{TestMachine, become_cpu};
    use crate::vm::Vm;
    use core::ops::ControlFlow;
    use std::vec::Vec;

    const PAGE: u64 = 4096;

    fn boot() -> Vm<TestMachine> {
        become_cpu(0);
        Vm::new(TestMachine::with(&[(0x100, 500, 0)], &[0])).expect("a machine that boots")
    }

    /// Maps page 0 of the object on.
    fn map<'vm>(space: &Space<'vm, TestMachine>, object: &Object<'vm, TestMachine>, at: u64, pages: u64) {
        let request = MapRequest::object(object, 0, Sharing::Shared, pages * PAGE, Prot::READ_WRITE);
        space.map(&request.at(Place::Fixed(at * PAGE))).expect("room");
    }

    /// Places and rights of the classes of an object, in the order in which they are met. `meanwhile` is called with each.
    fn met(
        cx: &Cx<'_, TestMachine>,
        object: &Object<'_, TestMachine>,
        mut meanwhile: impl FnMut(&Attributes<TestMachine>),
    ) -> Vec<(u64, Prot)> {
        let mut met = Vec::new();
        let _ = cx.each_class_of(object.inner(), &mut |class| {
            met.push((class.delta, class.prot));
            assert!(met.len() < 100, "no end");
            meanwhile(class);
            ControlFlow::Continue(())
        });
        met
    }

    /// A mapping as `protect` leaves it: the new class is held, then the old one is let go of.
    fn protect(cx: &Cx<'_, TestMachine>, held: &mut ClassId, prot: Prot) {
        let new = cx.intern(&cx.attributes(*held).with_prot(prot)).expect("memory");
        cx.release_class(*held, 1);
        *held = new;
    }

    /// The class of a mapping that is to be, held.
    fn hold(cx: &Cx<'_, TestMachine>, like: &Attributes<TestMachine>, delta: u64) -> ClassId {
        cx.intern(&Attributes { delta, ..*like }).expect("memory")
    }

    #[test]
    fn classes_of_one_place_stand_side_by_side() {
        let vm = boot();
        let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
        map(&space, &object, 16, 3);
        map(&space, &object, 32, 1);
        space.protect(17 * PAGE, PAGE, Prot::READ).expect("rights");
        // A mapping of its own that leads to the place of the first.
        let request = MapRequest::object(&object, 3 * PAGE, Sharing::Shared, PAGE, Prot::NONE);
        space.map(&request.at(Place::Fixed(19 * PAGE))).expect("room");
        let cx = Cx::enter(&vm);
        let expected = [(32, Prot::READ_WRITE), (16, Prot::NONE), (16, Prot::READ), (16, Prot::READ_WRITE)];
        assert_eq!(met(&cx, &object, |_| {}), expected);
        let mut in_space = Vec::new();
        let _ = cx.each_class_within(space.inner(), &mut |class| {
            in_space.push((class.delta, class.prot));
            ControlFlow::Continue(())
        });
        assert_eq!(in_space, expected);
        drop(cx);
        space.unmap(18 * PAGE, PAGE).expect("a mapping");
        space.unmap(17 * PAGE, PAGE).expect("a mapping");
        vm.audited().expect("a sound machine");
        space.protect(16 * PAGE, PAGE, Prot::READ).expect("rights");
        let expected = [(32, Prot::READ_WRITE), (16, Prot::READ), (16, Prot::NONE)];
        assert_eq!(met(&Cx::enter(&vm), &object, |_| {}), expected);
    }

    /// Wherever the reader is: a place whose class is another each time is met once, and does not keep him.
    #[test]
    fn a_place_that_changes_its_class_is_met_and_keeps_nobody() {
        let vm = boot();
        let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
        map(&space, &object, 32, 1);
        let cx = Cx::enter(&vm);
        let mut like = None;
        met(&cx, &object, |class| like = Some(*class));
        let like = like.expect("a class");
        let mut held = [16, 24, 40].map(|delta| hold(&cx, &like, delta));
        for changed in [0, 1, 2] {
            let mut turn = 0;
            let found = met(&cx, &object, |_| {
                for _ in 0..2 {
                    turn += 1;
                    let prot = [Prot::READ, Prot::NONE, Prot::READ_WRITE][turn % 3];
                    protect(&cx, &mut held[changed], prot);
                }
            });
            assert_eq!(found.iter().map(|(delta, _)| *delta).collect::<Vec<_>>(), [40, 24, 16, 32]);
        }
        held.iter().for_each(|class| cx.release_class(*class, 1));
    }

    /// Shared and private mappings of an object are not looked for together, so they are two places, though at the same
    /// difference: who passes by the classes of one does not miss the other.
    #[test]
    fn a_private_place_is_not_hidden_by_a_shared_one() {
        let vm = boot();
        let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
        map(&space, &object, 32, 1);
        let cx = Cx::enter(&vm);
        let mut like = None;
        met(&cx, &object, |class| like = Some(*class));
        let shared = like.expect("a class");
        let private = Attributes { flags: ClassFlags::NONE, ..shared };
        for first in [shared, private] {
            let mut other = hold(&cx, if first.is_private() { &shared } else { &private }, 40);
            let held = hold(&cx, &first, 40);
            let mut has_met = false;
            let _ = cx.each_class_of(object.inner(), &mut |class| {
                if class.delta == 40 && class.is_private() == first.is_private() {
                    protect(&cx, &mut other, Prot::READ);
                } else if class.delta == 40 {
                    has_met = true;
                }
                ControlFlow::Continue(())
            });
            assert!(has_met);
            [other, held].iter().for_each(|class| cx.release_class(*class, 1));
        }
    }

    /// As many classes as a mapping may have come and go; some slots say one, some another.
    #[test]
    fn a_place_of_several_classes_keeps_nobody() {
        let vm = boot();
        let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
        map(&space, &object, 32, 1);
        let cx = Cx::enter(&vm);
        let mut like = None;
        met(&cx, &object, |class| like = Some(*class));
        let like = like.expect("a class");
        let mut slots = [Prot::NONE, Prot::READ].map(|prot| {
            let mut held = hold(&cx, &like, 32);
            protect(&cx, &mut held, prot);
            held
        });
        let mut turn = 0;
        // Back to the oldest class of the place, and to another: one of the two always lies before it.
        let found = met(&cx, &object, |_| {
            let (slot, prot) = (turn % 2, [Prot::NONE, Prot::READ][turn % 2]);
            protect(&cx, &mut slots[slot], Prot::READ_WRITE);
            protect(&cx, &mut slots[slot], prot);
            turn += 1;
        });
        assert!(found.len() <= 3, "{found:?}");
        slots.iter().for_each(|class| cx.release_class(*class, 1));
    }
}
