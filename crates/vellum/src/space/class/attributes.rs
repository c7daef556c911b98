//! What a class says, and the identities that say it themselves.

use super::record::Record;
use crate::arch::{Prot, flag_set};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object;
use crate::phys::Policy;
use crate::space::Inner;
use core::ptr::NonNull;

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
        /// Every access faults, and nothing is shown. Of a slot, not of its mapping: neighbours that differ in nothing
        /// else are one mapping.
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
        /// Huge pages are wanted.
        HUGE_PAGES = 2048;
        /// Huge pages are not wanted.
        NO_HUGE_PAGES = 4096;
    }
}

/// The flags that a class without a record may have: the lowest ones, and some.
const PLAIN_FLAGS: u16 = 0x7f | ClassFlags::COMMITTED.0 | ClassFlags::HUGE_PAGES.0 | ClassFlags::NO_HUGE_PAGES.0;
/// In the identity of a class without a record, above its flags and rights.
const PLAIN: u32 = 1 << (16 - PLAIN_FLAGS.leading_zeros() + FLAGS_SHIFT);
/// Where the flags begin in such an identity.
const FLAGS_SHIFT: u32 = 3;
/// In such an identity.
pub(super) const COMMITTED: u32 = (ClassFlags::COMMITTED.0 as u32) << FLAGS_SHIFT;
const NO_RESERVE: u32 = (ClassFlags::NO_RESERVE.0 as u32) << FLAGS_SHIFT;
/// Where the policy's 24 bits begin in a record.
pub(super) const POLICY_SHIFT: u32 = 32;
/// First identity with a record: a power of two, above all others.
pub(super) const STORED: u32 = PLAIN << 1;

/// Spreads what it is multiplied with over the high bits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

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
    pub(super) fn plain(&self) -> Option<ClassId> {
        let plain = self.object.is_none()
            && self.delta == 0
            && self.max_prot.0 == 7
            && self.flags.0 & !PLAIN_FLAGS == 0
            && self.policy.is_local();
        plain.then_some(ClassId(PLAIN | self.prot.0 as u32 | (self.flags.0 as u32) << FLAGS_SHIFT))
    }

    pub(super) fn bits(&self) -> u64 {
        self.prot.0 as u64
            | (self.max_prot.0 as u64) << 8
            | (self.flags.0 as u64) << 16
            | (self.policy.to_bits() as u64) << POLICY_SHIFT
    }

    /// Whether the two lead to the same place, where reverse mapping looks for the same pages.
    pub(super) fn leads_where(&self, other: &Self) -> bool {
        let place = |class: &Self| (class.space, class.object, class.delta, class.is_private());
        self.space.is_some() && place(self) == place(other)
    }

    /// What tells to which part of the registry a class of these attributes belongs: its space, if it has one.
    pub(super) fn part(&self) -> usize {
        // SAFETY: as in `hash`; or the class was counted in this read-side section, and a space is freed after one.
        self.space.map_or_else(|| self.bits().wrapping_mul(MIX) >> 40, |space| unsafe { space.as_ref() }.id()) as usize
    }

    /// By identities, not addresses: where something lies in memory does not decide what the core does. Classes that
    /// lead to one place have one hash, so that they find each other.
    pub(super) fn hash(&self) -> usize {
        // SAFETY: the class has a reference to its object, and slots of its space or an operation in it; whoever is
        // about to make the class has both.
        let (object, space) = unsafe {
            (self.object.map_or(0, |object| object.as_ref().id()), self.space.map_or(0, |space| space.as_ref().id()))
        };
        let bits = if self.space.is_some() { 0 } else { self.bits() };
        let mix = |hash: u64, value: u64| (hash.rotate_left(5) ^ value).wrapping_mul(MIX);
        // The upper half: what a multiplication does to a bit depends on lower ones only.
        ([bits, object, self.delta, space].into_iter().fold(0, mix) >> 32) as usize
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

    pub(super) fn stored_attributes(&self, id: ClassId) -> Attributes<M> {
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
}
