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
        let tagged = within >> shift..=(within + length - 1) >> shift;
        self.own_page(space, address, &attributes).set_tags(granules, tagged, tag);
        Ok(())
    }

    /// The tag of the granule, of `1 << shift` bytes, at `address`, as far as is known.
    pub fn tag(&self, space: SpaceId, address: u64, shift: u32) -> u8 {
        let page = self.space(space).pages.get(&self.limits.page(address));
        page.map_or(0, |page| page.tag(self.within_page(address) >> shift))
    }

    /// Notes that the granule, of `1 << shift` bytes, at `address` was seen to have `tag`; whether it can be so.
    pub fn observe_tag(&mut self, space: SpaceId, address: u64, shift: u32, tag: u8) -> bool {
        let (number, granule) = (self.limits.page(address), self.within_page(address) >> shift);
        let page = self.space_mut(space).pages.get_mut(&number);
        page.map_or(tag == 0, |page| page.observe_tag(granule, tag))
    }
}
