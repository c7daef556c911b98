//! Memory tags of private pages.

use super::{Fault, Model, SpaceId};
use vellum::ops::Access;

impl Model {
    /// Tags the granules, of `1 << shift` bytes, in which `length` bytes from `address` on lie, all in one page.
    ///
    /// # Errors
    /// How a store there must fail.
    pub fn set_tags(&mut self, space: SpaceId, address: u64, length: usize, tag: u8, shift: u32) -> Result<(), Fault> {
        let attributes = self.touch(space, address, Access::Write)?;
        let (within, granules) = (self.within_page(address), self.limits.page_size() as usize >> shift);
        let page = self.own_page(space, address, &attributes);
        let mut tags = page.tags.take().map_or_else(|| vec![0; granules], |tags| tags.to_vec());
        tags[within >> shift..=(within + length - 1) >> shift].fill(tag);
        page.tags = Some(tags.into());
        Ok(())
    }

    /// The tag of the granule, of `1 << shift` bytes, at `address`.
    pub fn tag(&self, space: SpaceId, address: u64, shift: u32) -> u8 {
        let page = self.space(space).pages.get(&self.limits.page(address));
        page.and_then(|page| page.tags.as_ref()).map_or(0, |tags| tags[self.within_page(address) >> shift])
    }
}
