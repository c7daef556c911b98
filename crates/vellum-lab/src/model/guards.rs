//! Guards: ranges where every access faults, whatever areas lie there.

use std::collections::BTreeMap;

/// Guarded ranges, which neither overlap nor touch: by first address, the end.
#[derive(Clone, Default)]
pub(super) struct Guards(BTreeMap<u64, u64>);

impl Guards {
    /// All ranges in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(&start, &end)| (start, end))
    }

    /// Whether `address` is guarded.
    pub(super) fn hold(&self, address: u64) -> bool {
        self.first_within(address, address + 1).is_some()
    }

    /// The lowest guarded address of `[start, end)`.
    pub(super) fn first_within(&self, start: u64, end: u64) -> Option<u64> {
        self.within(start, end).first().map(|&(first, _)| first)
    }

    /// What of `[start, end)` is guarded.
    pub(super) fn within(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let cut = |(first, last): (u64, u64)| (first.max(start), last.min(end));
        self.iter().map(cut).filter(|(first, last)| first < last).collect()
    }

    /// Guards `[start, end)`.
    pub(super) fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let touched: Vec<(u64, u64)> = self.iter().filter(|&(first, last)| first <= end && start <= last).collect();
        self.0.retain(|&first, &mut last| first > end || last < start);
        let first = touched.first().map_or(start, |&(first, _)| first.min(start));
        let last = touched.last().map_or(end, |&(_, last)| last.max(end));
        self.0.insert(first, last);
    }

    /// Takes all guards out of `[start, end)`.
    pub(super) fn remove(&mut self, start: u64, end: u64) {
        for (first, last) in self.iter().filter(|&(first, last)| first < end && start < last).collect::<Vec<_>>() {
            self.0.remove(&first);
            self.add(first, last.min(start));
            self.add(first.max(end), last);
        }
    }

    /// Takes the guards out of `[start, end)`, and returns them.
    pub(super) fn take(&mut self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let taken = self.within(start, end);
        self.remove(start, end);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_joined_and_cut() {
        let mut guards = Guards::default();
        guards.add(10, 20);
        guards.add(20, 30);
        guards.add(40, 50);
        assert!(guards.iter().eq([(10, 30), (40, 50)]));
        guards.add(25, 45);
        assert!(guards.iter().eq([(10, 50)]));
        guards.remove(15, 20);
        assert!(guards.iter().eq([(10, 15), (20, 50)]));
        assert_eq!((guards.hold(14), guards.hold(15), guards.hold(50)), (true, false, false));
        assert_eq!(guards.first_within(15, 60), Some(20));
        assert_eq!(guards.take(12, 25), [(12, 15), (20, 25)]);
        assert!(guards.iter().eq([(10, 12), (25, 50)]));
        guards.remove(0, 100);
        assert_eq!(guards.iter().count(), 0);
    }
}
