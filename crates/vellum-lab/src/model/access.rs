//! Loads, stores and instruction fetches, and what faults must make of them.

use super::area::{Area, Attributes};
use super::space::Page;
use super::{Model, Quirk, SpaceId};
use std::rc::Rc;
use vellum::ops::{Access, Sharing};

/// Why an access must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is mapped there, and no grows-down mapping may grow so far; or it is guarded: SIGSEGV.
    NotMapped {
        /// Where.
        address: u64,
    },
    /// The mapping does not allow it: SIGSEGV.
    Denied {
        /// Where.
        address: u64,
    },
    /// The page lies wholly beyond the end of its object: SIGBUS.
    BeyondEnd {
        /// Where.
        address: u64,
        /// The page's index in the object.
        index: u64,
    },
}

/// Where the bytes of a page are, for a load.
pub(super) enum Shown<'a> {
    /// Never written since it was mapped or dropped.
    Zero,
    /// A private page.
    Private(&'a [u8]),
    /// A page of the object, and whether anything was stored there.
    Object(&'a [u8], bool),
}

impl Model {
    /// Loads bytes. A fault leaves what lies on earlier pages loaded.
    ///
    /// # Errors
    /// How the access must fail.
    pub fn load(&mut self, space: SpaceId, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.each_page(address, bytes.len(), |model, address, from, to| {
            model.touch(space, address, Access::Read)?;
            let within = model.within_page(address);
            let out = &mut bytes[from..to];
            match model.shown(space, address) {
                Shown::Zero => out.fill(0),
                Shown::Private(page) | Shown::Object(page, _) => out.copy_from_slice(&page[within..within + to - from]),
            }
            Ok(())
        })
    }

    /// Stores bytes. A fault leaves what lies on earlier pages stored.
    ///
    /// # Errors
    /// How the access must fail.
    pub fn store(&mut self, space: SpaceId, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        let is_torn = self.quirk == Some(Quirk::TornStore);
        self.each_page(address, bytes.len(), |model, address, from, to| {
            let attributes = model.touch(space, address, Access::Write)?;
            let to = if is_torn && to - from > 1 { to - 1 } else { to };
            model.write(space, address, &attributes, &bytes[from..to]);
            Ok(())
        })
    }

    /// Fetches an instruction.
    ///
    /// # Errors
    /// How the access must fail.
    pub fn execute(&mut self, space: SpaceId, address: u64) -> Result<(), Fault> {
        self.touch(space, address, Access::Execute).map(|_| ())
    }

    /// What lies at `address`, whatever the rights, without touching it, up to the end of the page; `None` where
    /// nothing is mapped, or it is guarded, or the object has no such page.
    pub fn peek(&mut self, space: SpaceId, address: u64, bytes: &mut [u8]) -> Option<()> {
        let attributes = self.space(space).areas.find(address)?.attributes;
        if self.space(space).guards.hold(address) {
            return None;
        }
        if let Some(object) = attributes.object
            && self.limits.page(attributes.offset(address)) >= self.object_pages(object)
        {
            return None;
        }
        let within = self.within_page(address);
        match self.shown(space, address) {
            Shown::Zero => bytes.fill(0),
            Shown::Private(page) | Shown::Object(page, _) => {
                bytes.copy_from_slice(&page[within..within + bytes.len()]);
            }
        }
        Some(())
    }

    /// Whether the space must own a private page at `address`.
    pub fn has_private_page(&self, space: SpaceId, address: u64) -> bool {
        self.space(space).pages.get(&self.limits.page(address)).is_some_and(|page| !page.may_go)
    }

    /// Notes what was seen at `address`, up to the end of the page at most, where it can be one thing or another.
    pub fn observe(&mut self, space: SpaceId, address: u64, got: &[u8]) {
        let (number, within) = (self.limits.page(address), self.within_page(address));
        if let Some(page) = self.space_mut(space).pages.get_mut(&number) {
            page.observe(within, got);
        }
    }

    /// Decides whether an access may happen, growing a grows-down mapping if it must. As in Linux, it stays grown if
    /// the access is then denied.
    ///
    /// # Errors
    /// How the access must fail.
    pub fn touch(&mut self, space: SpaceId, address: u64, access: Access) -> Result<Attributes, Fault> {
        let area = match self.space(space).areas.find(address) {
            Some(area) => area,
            None => self.grow(space, address).ok_or(Fault::NotMapped { address })?,
        };
        if !self.limits.allows(area.attributes.prot, access) {
            return Err(Fault::Denied { address });
        }
        if self.space(space).guards.hold(address) {
            return Err(Fault::NotMapped { address });
        }
        if let Some(object) = area.attributes.object {
            let index = self.limits.page(area.attributes.offset(address));
            if index >= self.object_pages(object) {
                return Err(Fault::BeyondEnd { address, index });
            }
        }
        Ok(area.attributes)
    }

    /// Extends the grows-down area above `address` to hold it, if there is one that may grow so far: the area.
    fn grow(&mut self, space: SpaceId, address: u64) -> Option<Area> {
        let guard = self.limits.guard_bytes();
        let (user_start, start) = (self.limits.user_start, self.limits.round_down(address));
        let state = self.space(space);
        let above = state.areas.above(address).filter(|above| above.attributes.grows_down)?;
        // Of what lies in the gap, only the nearest mapping below counts.
        let in_gap = state.areas.within(start.saturating_sub(guard), start);
        let harmless = |below: &Area| below.attributes.grows_down || !below.attributes.is_accessible();
        if start < user_start || above.end - start > state.stack_limit || !in_gap.last().is_none_or(harmless) {
            return None;
        }
        self.may_commit(if above.attributes.committed { above.start - start } else { 0 }, 0).ok()?;
        self.space_mut(space).areas.insert(start, above.start, above.attributes);
        Some(Area { start, ..above })
    }

    /// What a load of the page at `address`, which is mapped, shows.
    pub(super) fn shown(&mut self, space: SpaceId, address: u64) -> Shown<'_> {
        let (page, size) = (self.limits.page(address), self.limits.page_size());
        let state = self.spaces[space.0 as usize].as_ref().expect("the space is gone");
        if let Some(page) = state.pages.get(&page) {
            return Shown::Private(page.contents());
        }
        let attributes = state.areas.find(address).map(|area| area.attributes);
        let Some((attributes, object)) = attributes.and_then(|attributes| Some((attributes, attributes.object?)))
        else {
            return Shown::Zero;
        };
        let object = self.objects.get_mut(&object).expect("objects live as long as the model");
        let (bytes, is_written) = object.read(self.limits.page(attributes.offset(address)), size);
        Shown::Object(bytes, is_written)
    }

    fn write(&mut self, space: SpaceId, address: u64, attributes: &Attributes, bytes: &[u8]) {
        let (within, size) = (self.within_page(address), self.limits.page_size());
        let writes_through = self.quirk == Some(Quirk::WriteThroughPrivate);
        match attributes.object {
            Some(object) if attributes.sharing == Sharing::Shared || writes_through => {
                let index = self.limits.page(attributes.offset(address));
                self.object_mut(object).write(index, size, within, bytes);
            }
            _ => {
                self.own_page(space, address, attributes).store(within, bytes);
            }
        }
    }

    /// The private page at `address`, made from what it shows if there is none yet.
    pub(super) fn own_page(&mut self, space: SpaceId, address: u64, attributes: &Attributes) -> &mut Page {
        let (page, size) = (self.limits.page(address), self.limits.page_size());
        self.note_huge(space, address, attributes);
        if !self.space(space).pages.contains_key(&page) {
            let contents: Rc<[u8]> = match attributes.object {
                Some(object) => {
                    let index = self.limits.page(attributes.offset(address));
                    self.object_mut(object).read(index, size).0.into()
                }
                None => self.zeros.clone(),
            };
            self.space_mut(space).pages.insert(page, Page::new(contents));
        }
        self.space_mut(space).pages.get_mut(&page).expect("just made sure of")
    }

    pub(super) fn within_page(&self, address: u64) -> usize {
        (address & (self.limits.page_size() - 1)) as usize
    }

    /// Calls `each` for the part of an access on each page: its address, and which bytes of the buffer.
    pub(super) fn each_page<E>(
        &mut self,
        address: u64,
        length: usize,
        mut each: impl FnMut(&mut Self, u64, usize, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = self.limits.page_size() as usize;
        let mut from = 0;
        while from < length {
            let start = address.wrapping_add(from as u64);
            let to = length.min(from + size - self.within_page(start));
            each(self, start, from, to)?;
            from = to;
        }
        Ok(())
    }
}
