//! Which page of the shadow each page of a process shows.

use rustc_hash::FxHashMap;
use vellum::arch::Prot;
use vellum::ops::Access;

/// One page of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    /// The shadow's number for its contents; 0 until they are needed.
    pub(super) contents: u32,
    /// Whether stores go to the object.
    pub(super) is_shared: bool,
    /// [`Slot::KNOWN`] and the access rights; 0 until the page is accessed.
    rights: u8,
}

impl Slot {
    const KNOWN: u8 = 0x80;

    pub(super) fn is_known(self) -> bool {
        self.rights != 0
    }

    pub(super) fn set_rights(&mut self, prot: Prot) {
        self.rights = Self::KNOWN | prot.raw();
    }

    #[inline]
    pub(super) fn allows(self, access: Access) -> bool {
        let right = match access {
            Access::Read => Prot::READ,
            Access::Write => Prot::WRITE,
            Access::Execute => Prot::EXECUTE,
        };
        self.rights & right.raw() != 0
    }
}

const LEAF_SHIFT: u32 = 9;
const LEAF: usize = 1 << LEAF_SHIFT;
const RECENT: usize = 64;

/// The slots of a process: leaves of 512, found by hash, with the last ones found at hand.
#[derive(Debug)]
pub(super) struct Slots {
    leaves: Vec<Box<[Slot; LEAF]>>,
    places: FxHashMap<u64, u32>,
    recent: Box<[(u64, u32); RECENT]>,
}

impl Slots {
    pub(super) fn new() -> Slots {
        Slots { leaves: Vec::new(), places: FxHashMap::default(), recent: Box::new([(u64::MAX, 0); RECENT]) }
    }

    /// The slot of `page`, unknown if it never was.
    #[inline]
    pub(super) fn get(&mut self, page: u64) -> &mut Slot {
        let number = page >> LEAF_SHIFT;
        let (known, place) = self.recent[number as usize % RECENT];
        let place = if known == number { place } else { self.find(number) };
        &mut self.leaves[place as usize][page as usize % LEAF]
    }

    fn find(&mut self, number: u64) -> u32 {
        let place = *self.places.entry(number).or_insert_with(|| {
            self.leaves.push(Box::new([Slot::default(); LEAF]));
            self.leaves.len() as u32 - 1
        });
        self.recent[number as usize % RECENT] = (number, place);
        place
    }

    /// Calls `visit` with the known slots from page `start` to `end`, and their page numbers.
    pub(super) fn each(&mut self, start: u64, end: u64, mut visit: impl FnMut(u64, &mut Slot)) {
        if start >= end {
            return;
        }
        let (first, last) = (start >> LEAF_SHIFT, (end - 1) >> LEAF_SHIFT);
        let mut numbers: Vec<u64> = if last - first < self.places.len() as u64 {
            (first..=last).filter(|number| self.places.contains_key(number)).collect()
        } else {
            self.places.keys().copied().filter(|number| (first..=last).contains(number)).collect()
        };
        numbers.sort_unstable();
        for number in numbers {
            let base = number << LEAF_SHIFT;
            let leaf = &mut self.leaves[self.places[&number] as usize];
            let from = start.max(base) - base;
            let to = end.min(base + LEAF as u64) - base;
            for index in from..to {
                let slot = &mut leaf[index as usize];
                if slot.is_known() {
                    visit(base + index, slot);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_slots_of_the_range_are_visited() {
        let mut slots = Slots::new();
        for page in [0, 511, 512, 5000, 1 << 35] {
            slots.get(page).set_rights(Prot::READ);
        }
        slots.get(6000);
        let mut seen = Vec::new();
        slots.each(1, u64::MAX >> 12, |page, _| seen.push(page));
        assert_eq!(seen, [511, 512, 5000, 1 << 35]);
        seen.clear();
        slots.each(511, 513, |page, slot| {
            *slot = Slot::default();
            seen.push(page);
        });
        assert_eq!(seen, [511, 512]);
        assert!(!slots.get(512).is_known());
    }
}
