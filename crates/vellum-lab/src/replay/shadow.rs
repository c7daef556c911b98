//! The bytes that loads must return, kept outside the core.
//!
//! A page of the shadow is shown by slots of processes, and by the object it belongs to. A private store to a page that
//! anything else shows copies it first; a shared store does not.

use super::files::fill_page;
use super::layout::{Area, Kind};
use super::slots::Slot;
use rustc_hash::FxHashMap;

const PAGE: usize = 4096;

/// Contents 0 are "not known yet"; contents 1 are the page that is all zero.
const ZERO: u32 = 1;

struct Page {
    bytes: Box<[u8; PAGE]>,
    /// Slots and objects that show it.
    users: u32,
    /// Whether the trace has stored to it.
    is_stored: bool,
}

/// What an object shows where nobody has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Zero,
    File(u64),
}

struct Object {
    pattern: Pattern,
    pages: FxHashMap<u64, u32>,
    /// Pages of all processes that are mapped to it.
    mapped: u64,
}

/// The pages, and the objects.
pub(super) struct Shadow {
    pages: Vec<Page>,
    free: Vec<u32>,
    objects: FxHashMap<u64, Object>,
}

/// A byte that is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Offset in the page.
    pub(super) offset: usize,
    pub(super) expected: u8,
    pub(super) got: u8,
}

impl Shadow {
    pub(super) fn new() -> Shadow {
        let page = || Page { bytes: Box::new([0; PAGE]), users: 1, is_stored: false };
        Shadow { pages: vec![page(), page()], free: Vec::new(), objects: FxHashMap::default() }
    }

    /// Makes the object `key` known.
    pub(super) fn add_object(&mut self, key: u64, pattern: Pattern) {
        self.objects.entry(key).or_insert_with(|| Object { pattern, pages: FxHashMap::default(), mapped: 0 });
    }

    /// Counts that `pages` more pages are mapped as `area` says.
    pub(super) fn count_mapped(&mut self, area: &Area, pages: u64) {
        if let Some(object) = area.object().and_then(|key| self.objects.get_mut(&key)) {
            object.mapped = object.mapped.saturating_add(pages);
        }
    }

    /// Counts that `pages` fewer are. Shared memory that nobody maps any more is forgotten.
    pub(super) fn count_unmapped(&mut self, area: &Area, pages: u64) {
        let Some(key) = area.object() else { return };
        let Some(object) = self.objects.get_mut(&key) else { return };
        object.mapped = object.mapped.saturating_sub(pages);
        if object.mapped > 0 || object.pattern != Pattern::Zero {
            return;
        }
        let pages = std::mem::take(&mut object.pages);
        self.objects.remove(&key);
        pages.into_values().for_each(|contents| self.put(contents));
    }

    /// Gives the slot of `page`, which has no contents yet, those that `area` shows there.
    pub(super) fn fill(&mut self, slot: &mut Slot, page: u64, area: Option<&Area>) {
        slot.contents = match area.map(|area| area.kind) {
            Some(Kind::Object { key, delta, is_shared }) => {
                slot.is_shared = is_shared;
                self.object_page(key, page.wrapping_sub(delta))
            }
            _ => ZERO,
        };
        self.pages[slot.contents as usize].users += 1;
    }

    fn object_page(&mut self, key: u64, index: u64) -> u32 {
        let Some(object) = self.objects.get(&key) else { return ZERO };
        if let Some(contents) = object.pages.get(&index) {
            return *contents;
        }
        let pattern = object.pattern;
        let contents = self.allocate();
        let page = &mut self.pages[contents as usize];
        page.is_stored = false;
        match pattern {
            Pattern::Zero => page.bytes.fill(0),
            Pattern::File(identity) => fill_page(identity, index, &mut *page.bytes),
        }
        if let Some(object) = self.objects.get_mut(&key) {
            object.pages.insert(index, contents);
        }
        contents
    }

    /// Compares what was loaded at `offset` with what `slot` shows; whether it was stored to.
    #[inline]
    pub(super) fn check(&self, slot: Slot, offset: usize, loaded: &[u8]) -> Result<bool, Wrong> {
        let page = &self.pages[slot.contents as usize];
        let expected = &page.bytes[offset..offset + loaded.len()];
        if expected == loaded {
            return Ok(page.is_stored);
        }
        let at = expected.iter().zip(loaded).position(|(expected, got)| expected != got).unwrap_or(0);
        Err(Wrong { offset: offset + at, expected: expected[at], got: loaded[at] })
    }

    /// Notes a store through `slot`.
    #[inline]
    pub(super) fn store(&mut self, slot: &mut Slot, offset: usize, bytes: &[u8]) {
        if !slot.is_shared && self.pages[slot.contents as usize].users > 1 {
            self.copy(slot);
        }
        let page = &mut self.pages[slot.contents as usize];
        page.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        page.is_stored = true;
    }

    #[cold]
    fn copy(&mut self, slot: &mut Slot) {
        let new = self.allocate();
        let bytes = *self.pages[slot.contents as usize].bytes;
        *self.pages[new as usize].bytes = bytes;
        self.put(slot.contents);
        slot.contents = new;
    }

    /// Notes that one more slot shows what `slot` does: that of a forked child.
    pub(super) fn share(&mut self, slot: &Slot) {
        if slot.contents != 0 {
            self.pages[slot.contents as usize].users += 1;
        }
    }

    /// Takes `slot` away.
    pub(super) fn release(&mut self, slot: &mut Slot) {
        if slot.contents != 0 {
            self.put(slot.contents);
        }
        *slot = Slot::default();
    }

    /// A page with one user.
    fn allocate(&mut self) -> u32 {
        if let Some(contents) = self.free.pop() {
            self.pages[contents as usize].users = 1;
            return contents;
        }
        self.pages.push(Page { bytes: Box::new([0; PAGE]), users: 1, is_stored: false });
        self.pages.len() as u32 - 1
    }

    fn put(&mut self, contents: u32) {
        let page = &mut self.pages[contents as usize];
        page.users -= 1;
        if page.users == 0 {
            self.free.push(contents);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vellum::arch::Prot;

    fn area(key: u64, is_shared: bool) -> Area {
        Area::new(Kind::Object { key, delta: 100, is_shared }, Prot::READ_WRITE)
    }

    fn slot(shadow: &mut Shadow, page: u64, area: Option<&Area>) -> Slot {
        let mut slot = Slot::default();
        slot.set_rights(Prot::READ_WRITE);
        shadow.fill(&mut slot, page, area);
        slot
    }

    #[test]
    fn private_stores_copy_and_shared_stores_do_not() {
        let mut shadow = Shadow::new();
        shadow.add_object(6, Pattern::File(9));
        let mut private = slot(&mut shadow, 103, Some(&area(6, false)));
        let mut shared = slot(&mut shadow, 103, Some(&area(6, true)));
        shadow.store(&mut shared, 8, &[1, 2]);
        assert_eq!(shadow.check(private, 8, &[1, 2]), Ok(true));
        shadow.store(&mut private, 8, &[3]);
        assert_eq!(shadow.check(shared, 8, &[1, 2]), Ok(true));
        assert_eq!(shadow.check(private, 8, &[3, 2]), Ok(true));
        assert_eq!(shadow.check(private, 8, &[3, 5]), Err(Wrong { offset: 9, expected: 2, got: 5 }));
    }

    #[test]
    fn forked_children_keep_what_they_had() {
        let mut shadow = Shadow::new();
        let mut parent = slot(&mut shadow, 5, None);
        shadow.store(&mut parent, 0, &[7]);
        let mut child = parent;
        shadow.share(&child);
        shadow.store(&mut parent, 0, &[8]);
        assert_eq!(shadow.check(child, 0, &[7]), Ok(true));
        shadow.store(&mut child, 1, &[9]);
        assert_eq!(shadow.check(parent, 0, &[8, 0]), Ok(true));
        let used = shadow.pages.len();
        shadow.release(&mut parent);
        shadow.release(&mut child);
        assert_eq!(shadow.free.len(), used - 2, "all but the two constant pages are free again");
    }

    #[test]
    fn shared_memory_goes_with_its_last_mapping() {
        let mut shadow = Shadow::new();
        let area = area(3, true);
        shadow.add_object(3, Pattern::Zero);
        shadow.count_mapped(&area, 2);
        let mut one = slot(&mut shadow, 101, Some(&area));
        shadow.store(&mut one, 0, &[1]);
        shadow.release(&mut one);
        shadow.count_unmapped(&area, 1);
        let mut again = slot(&mut shadow, 101, Some(&area));
        assert_eq!(shadow.check(again, 0, &[1]), Ok(true));
        shadow.release(&mut again);
        shadow.count_unmapped(&area, 1);
        assert!(shadow.objects.is_empty() && shadow.free.len() == 1);
    }
}
