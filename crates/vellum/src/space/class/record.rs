//! The records of classes, and frames as arrays: records, and the buckets of hash tables.

use super::attributes::{Attributes, ClassFlags, ClassId, POLICY_SHIFT, STORED};
use super::chain::Chain;
use super::extent::Extent;
use crate::arch::{Arch, Prot};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::phys::{AllocFlags, Kind, Pfn, Policy};
use crate::space::Inner;
use crate::sync::{AtomicU32, AtomicU64, Rank, RawLock};
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// A counted class, a cache line and the links of its chains.
#[repr(C, align(64))]
pub(super) struct Record<M> {
    bits: AtomicU64<M>,
    object: AtomicU64<M>,
    delta: AtomicU64<M>,
    pub(super) count: AtomicU64<M>,
    /// Epoch in which it was given up.
    pub(super) epoch: AtomicU64<M>,
    /// Address of the space; 0 for none.
    space: AtomicU64<M>,
    /// Next of the hash chain, or of the queue of records given up; identity, 0 ends it.
    pub(super) next: AtomicU32<M>,
    pub(super) linked: AtomicU32<M>,
    /// Where its slots are, and those of all classes of its place: first page, and behind the last.
    low: AtomicU64<M>,
    high: AtomicU64<M>,
    /// Neighbours on the chain of the object, and on that of the space.
    links: [Links<M>; 2],
}

/// A record's neighbours on a chain; identities, 0 for none. `next` stays as it was while readers may stand here.
pub(super) struct Links<M> {
    pub(super) next: AtomicU32<M>,
    pub(super) previous: AtomicU32<M>,
}

impl<M> Record<M> {
    pub(super) fn links(&self, chain: Chain) -> &Links<M> {
        &self.links[chain as usize]
    }
}

impl<M: Machine> Record<M> {
    /// Makes the record, an unused one, that of a class with `attributes`, held once.
    pub(super) fn write(&self, attributes: &Attributes<M>, extent: Extent) {
        self.low.store(extent.low, Relaxed);
        self.high.store(extent.high, Relaxed);
        self.bits.store(attributes.bits(), Relaxed);
        self.object.store(attributes.object.map_or(0, |object| object.as_ptr().expose_provenance() as u64), Relaxed);
        self.delta.store(attributes.delta, Relaxed);
        self.space.store(attributes.space.map_or(0, |space| space.as_ptr().expose_provenance() as u64), Relaxed);
        self.count.store(1, Relaxed);
        self.linked.store(1, Relaxed);
    }

    /// Where its slots may be.
    #[inline(always)]
    pub(super) fn extent(&self) -> Extent {
        Extent { low: self.low.load(SeqCst), high: self.high.load(SeqCst) }
    }

    /// Notes where its slots may be from now on. Sequentially consistent: a walk that looks for pages there after they
    /// came does not pass by.
    pub(super) fn set_extent(&self, extent: Extent) {
        self.low.swap(extent.low, SeqCst);
        self.high.swap(extent.high, SeqCst);
    }

    pub(super) fn attributes(&self) -> Attributes<M> {
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

/// The space at `address`, 0 for none.
fn space_at<M: Machine>(address: u64) -> Option<NonNull<Inner<M>>> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
}

/// An array that grows by frames, which never go: `ROOTS` trees of two levels of frame numbers + 1 above frames of `T`,
/// for which zeroes are a value.
pub(super) struct FrameTree<M, T, const ROOTS: usize> {
    roots: [AtomicU64<M>; ROOTS],
    _of: PhantomData<fn(T)>,
}

impl<M: Machine, T, const ROOTS: usize> FrameTree<M, T, ROOTS> {
    const PAGE: usize = 1 << M::Arch::PAGE_SHIFT;
    /// Numbers in a frame of them.
    const WORDS: usize = Self::PAGE / size_of::<u64>();
    /// Values in a frame of them.
    pub(super) const PER_FRAME: usize = Self::PAGE / size_of::<T>();

    pub(super) const fn new() -> Self {
        FrameTree { roots: [const { AtomicU64::new(0) }; ROOTS], _of: PhantomData }
    }

    /// Where the value at `index` lies: root, index there, index in the middle table, in the frame of values.
    #[inline(always)]
    fn path(index: usize) -> [usize; 4] {
        let frame = index / Self::PER_FRAME;
        let middle = frame / Self::WORDS;
        [middle / Self::WORDS, middle % Self::WORDS, frame % Self::WORDS, index % Self::PER_FRAME]
    }

    /// The value at `index`, if there is memory for it.
    #[inline(always)]
    pub(super) fn get(&self, cx: &Cx<'_, M>, index: usize) -> Option<&T> {
        let [root, top, middle, place] = Self::path(index);
        let middle_table = Self::words_of(cx, Self::words_of(cx, self.roots.get(root)?)?.get(top)?)?;
        let pfn = Pfn(middle_table.get(middle)?.load(Acquire).checked_sub(1)?);
        // SAFETY: a frame of values, zeroed when it was allocated, never freed, and accessed only atomically; `place` is
        // within it.
        Some(unsafe { &*cx.vm().machine().frame(pfn).cast::<T>().add(place) })
    }

    /// Makes sure that there is memory for the value at `index`. Under the lock of who owns the tree.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], also where the tree cannot have so many.
    pub(super) fn grow(&self, cx: &Cx<'_, M>, index: usize) -> Result<(), Error> {
        let [root, top, middle, _] = Self::path(index);
        let top_table = Self::table_frame(cx, self.roots.get(root).ok_or(Error::OutOfMemory)?)?;
        let middle_table = Self::table_frame(cx, top_table.get(top).ok_or(Error::OutOfMemory)?)?;
        Self::table_frame(cx, middle_table.get(middle).ok_or(Error::OutOfMemory)?).map(|_| ())
    }

    /// The frame `link` names, allocated if it names none yet, as words.
    fn table_frame<'a>(cx: &Cx<'_, M>, link: &'a AtomicU64<M>) -> Result<&'a [AtomicU64<M>], Error> {
        if link.load(Relaxed) == 0 {
            let pfn = cx.alloc_zeroed(0, AllocFlags::NONE)?;
            cx.vm().physical().frame(pfn).set_kind(Kind::Reserved, 0);
            link.store(pfn.0 + 1, Release);
        }
        Ok(Self::words_of(cx, link).unwrap_or(&[]))
    }

    #[inline(always)]
    fn words_of<'a>(cx: &Cx<'_, M>, link: &'a AtomicU64<M>) -> Option<&'a [AtomicU64<M>]> {
        let pfn = Pfn(link.load(Acquire).checked_sub(1)?);
        // SAFETY: the tree's frames are never freed, hold words, and are accessed only atomically.
        Some(unsafe { core::slice::from_raw_parts(cx.vm().machine().frame(pfn).cast(), Self::WORDS) })
    }
}

/// The roots of the tree of records: with frames of 4 KiB each leads to 8.39 million.
const ROOTS: usize = 64;

/// The memory of all records.
pub(super) struct Records<M> {
    lock: RawLock<M>,
    tree: FrameTree<M, Record<M>, ROOTS>,
    /// First identity never used.
    fresh: AtomicU32<M>,
}

impl<M: Machine> Records<M> {
    pub(super) const fn new() -> Self {
        Records { lock: RawLock::new(), tree: FrameTree::new(), fresh: AtomicU32::new(STORED) }
    }

    /// The identities that were ever used.
    pub(super) fn ever_used(&self) -> core::ops::Range<u32> {
        STORED..self.fresh.load(Relaxed)
    }

    /// A record never used before. Takes the lock of the records; may allocate.
    pub(super) fn fresh(&self, cx: &Cx<'_, M>) -> Result<ClassId, Error> {
        let _guard = self.lock.lock(cx, Rank::ClassRecords);
        let id = self.fresh.load(Relaxed);
        self.tree.grow(cx, (id - STORED) as usize)?;
        self.fresh.store(id + 1, Relaxed);
        Ok(ClassId(id))
    }
}

impl<M: Machine> Cx<'_, M> {
    #[inline(always)]
    pub(super) fn record(&self, id: ClassId) -> Option<&Record<M>> {
        if !id.is_stored() {
            return None;
        }
        self.vm().classes().records.tree.get(self, (id.0 - STORED) as usize)
    }
}
