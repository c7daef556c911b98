//! Which pages a trace touches.

use rustc_hash::FxHashMap;

const GROUP_SHIFT: u32 = 9;
const RECENT: usize = 64;

/// A set of page numbers: groups of 512 bits, found by hash, with the last ones found at hand.
#[derive(Debug)]
pub(crate) struct Touched {
    groups: Vec<[u64; 8]>,
    places: FxHashMap<u64, u32>,
    recent: [(u64, u32); RECENT],
    count: u64,
}

impl Touched {
    pub(crate) fn new() -> Touched {
        Touched { groups: Vec::new(), places: FxHashMap::default(), recent: [(u64::MAX, 0); RECENT], count: 0 }
    }

    #[inline]
    pub(crate) fn insert(&mut self, page: u64) {
        let number = page >> GROUP_SHIFT;
        let (known, place) = self.recent[number as usize % RECENT];
        let place = if known == number { place } else { self.find(number) };
        let word = &mut self.groups[place as usize][page as usize >> 6 & 7];
        let bit = 1 << (page & 63);
        self.count += u64::from(*word & bit == 0);
        *word |= bit;
    }

    fn find(&mut self, number: u64) -> u32 {
        let place = *self.places.entry(number).or_insert_with(|| {
            self.groups.push([0; 8]);
            self.groups.len() as u32 - 1
        });
        self.recent[number as usize % RECENT] = (number, place);
        place
    }

    /// Adds what `other` holds.
    pub(crate) fn merge(&mut self, other: &Touched) {
        for (number, place) in &other.places {
            for (index, word) in other.groups[*place as usize].iter().enumerate() {
                (0..64).filter(|bit| word & (1 << bit) != 0).for_each(|bit| {
                    self.insert(number << GROUP_SHIFT | (index as u64) << 6 | bit);
                });
            }
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_counts_once() {
        let mut touched = Touched::new();
        for page in [0, 1, 0, 511, 512, 1 << 36, 1, (1 << 36) + 64 * 512, 1 << 36] {
            touched.insert(page);
        }
        assert_eq!(touched.count(), 6);
        let mut more = Touched::new();
        more.insert(1);
        more.insert(2);
        more.merge(&touched);
        assert_eq!(more.count(), 7);
    }
}
