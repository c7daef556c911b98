//! Memory objects: shared memory and files.

use super::{Model, ObjectId, Quirk};
use rustc_hash::FxHashMap;
use std::ops::Range;

/// What a page of an untouched file holds: called with the page index and the page, zeroed, to fill in.
pub type Fill = Box<dyn Fn(u64, &mut [u8])>;

/// One object. Pages are kept once they have been looked at.
pub(super) struct ObjectState {
    length: u64,
    fill: Option<Fill>,
    pages: FxHashMap<u64, ObjectPage>,
    /// Pages that are zero until they are stored to, whatever `fill` does.
    holes: Vec<Range<u64>>,
    /// All pages of its length are committed, as long as somebody has it.
    pub(super) is_committed: bool,
    /// Somebody has it beside what is mapped.
    pub(super) is_held: bool,
}

struct ObjectPage {
    bytes: Box<[u8]>,
    is_written: bool,
}

impl ObjectState {
    /// Number of pages, the last perhaps partly used.
    pub(super) fn page_count(&self, page_shift: u32) -> u64 {
        self.length.div_ceil(1 << page_shift)
    }

    fn page(&mut self, index: u64, page_size: u64) -> &mut ObjectPage {
        let is_hole = self.holes.iter().any(|hole| hole.contains(&index));
        let (length, fill) = (self.length, self.fill.as_ref().filter(|_| !is_hole));
        self.pages.entry(index).or_insert_with(|| {
            let mut bytes = vec![0; page_size as usize].into_boxed_slice();
            if let Some(fill) = fill {
                fill(index, &mut bytes);
                let used = length.saturating_sub(index * page_size).min(page_size);
                bytes[used as usize..].fill(0);
            }
            ObjectPage { bytes, is_written: false }
        })
    }

    /// The contents of page `index`, and whether anything was stored there.
    pub(super) fn read(&mut self, index: u64, page_size: u64) -> (&[u8], bool) {
        let page = self.page(index, page_size);
        (&page.bytes, page.is_written)
    }

    /// Makes a hole of those pages.
    pub(super) fn punch(&mut self, pages: Range<u64>) {
        self.pages.retain(|index, _| !pages.contains(index));
        self.holes.push(pages);
    }

    pub(super) fn write(&mut self, index: u64, page_size: u64, offset: usize, bytes: &[u8]) {
        let page = self.page(index, page_size);
        page.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        page.is_written = true;
    }
}

impl Model {
    /// Shared memory of `pages` pages that read as zero.
    pub fn shared_memory(&mut self, pages: u64) -> ObjectId {
        let object = self.add_memory(pages, true);
        self.object_mut(object).is_held = true;
        object
    }

    /// Shared memory that nobody has yet.
    pub(super) fn add_memory(&mut self, pages: u64, is_committed: bool) -> ObjectId {
        self.add_object(pages << self.limits.page_shift, None, is_committed)
    }

    /// A file of `length` bytes; beyond its end the last page reads as zero whatever `fill` does.
    /// A length that does not fit 62 bits stands for a file without end.
    pub fn file(&mut self, length: u64, fill: Fill) -> ObjectId {
        let length = length.min(1 << 62);
        self.add_object(length, Some(fill), false)
    }

    /// Number of pages of an object.
    pub fn object_pages(&self, object: ObjectId) -> u64 {
        self.objects[&object].page_count(self.limits.page_shift)
    }

    /// Makes an object `pages` pages long, which is not longer than it is. What private mappings hold of the pages
    /// behind that is lost too.
    pub fn truncate(&mut self, object: ObjectId, pages: u64) {
        let (shift, quirk) = (self.limits.page_shift, self.quirk);
        let state = self.object_mut(object);
        state.length = state.length.min(pages << shift);
        state.pages.retain(|&index, _| index < pages);
        for space in self.spaces.iter_mut().flatten().filter(|_| quirk != Some(Quirk::KeepOnTruncate)) {
            let areas = space.areas.clone();
            space.pages.retain(|&number, _| {
                let address = number << shift;
                let area = areas.find(address).filter(|area| area.attributes.object == Some(object));
                area.is_none_or(|area| area.attributes.offset(address) >> shift < pages)
            });
        }
    }

    /// The pages of an object that were stored to, by index.
    pub fn written_pages(&self, object: ObjectId) -> Vec<(u64, &[u8])> {
        let pages = self.objects[&object].pages.iter().filter(|(_, page)| page.is_written);
        pages.map(|(&index, page)| (index, &*page.bytes)).collect()
    }

    fn add_object(&mut self, length: u64, fill: Option<Fill>, is_committed: bool) -> ObjectId {
        let (pages, holes) = (FxHashMap::default(), Vec::new());
        let object = ObjectState { length, fill, pages, holes, is_committed, is_held: false };
        let id = ObjectId(self.next_object);
        self.next_object += 1;
        self.objects.insert(id, object);
        id
    }

    /// Whether an object is a file; else it is shared memory.
    pub(super) fn is_file(&self, object: ObjectId) -> bool {
        self.objects.get(&object).is_some_and(|state| state.fill.is_some())
    }

    pub(super) fn object_mut(&mut self, object: ObjectId) -> &mut ObjectState {
        self.objects.get_mut(&object).expect("objects live as long as the model")
    }
}
