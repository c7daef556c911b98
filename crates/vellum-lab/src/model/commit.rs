//! What is committed, and how much may be.

use super::area::Attributes;
use super::{Model, ObjectId};
use vellum::Error;
use vellum::arch::Prot;
use vellum::ops::Sharing;

impl Attributes {
    /// These attributes, committed where a program may store what is then its own alone.
    pub(super) fn committed(mut self) -> Self {
        self.committed |= self.sharing == Sharing::Private && self.prot.has(Prot::WRITE) && !self.no_reserve;
        self
    }
}

impl Model {
    /// Lets at most so many bytes be committed, or, at first, any number.
    pub fn set_commit_limit(&mut self, bytes: Option<u64>) {
        self.commit_limit = bytes;
    }

    /// Bytes that are committed: of private mappings that can be stored to, or could once, and of shared memory as long
    /// as somebody has it.
    pub fn committed_bytes(&self) -> u64 {
        let spaces = self.spaces.iter().flatten().flat_map(|space| space.areas.iter());
        let private: u64 = spaces.filter(|area| area.attributes.committed).map(|area| area.end - area.start).sum();
        let objects = self.objects.iter().filter(|(id, object)| object.is_committed && self.is_used(**id));
        private
            + objects
                .map(|(_, object)| object.page_count(self.limits.page_shift) << self.limits.page_shift)
                .sum::<u64>()
    }

    /// Whether somebody has the object, or shows it.
    fn is_used(&self, object: ObjectId) -> bool {
        let is_shown = || {
            let mut areas = self.spaces.iter().flatten().flat_map(|space| space.areas.iter());
            areas.any(|area| area.attributes.object == Some(object))
        };
        self.objects[&object].is_held || is_shown()
    }

    /// Gives up the handle of an object: it is there as long as it is mapped.
    pub fn release_object(&mut self, object: ObjectId) {
        self.object_mut(object).is_held = false;
    }

    /// Whether `more` bytes may be committed, of which there were `freed` before.
    ///
    /// # Errors
    /// [`Error::CommitLimit`].
    pub fn may_commit(&self, more: u64, freed: u64) -> Result<(), Error> {
        match self.commit_limit {
            Some(limit) if more > 0 && self.committed_bytes() + more - freed > limit => {
                Err(Error::CommitLimit { bytes: more })
            }
            _ => Ok(()),
        }
    }
}
