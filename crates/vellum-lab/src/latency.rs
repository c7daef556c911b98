//! How long faults took, by kind.

use vellum::ops::FaultKind;

/// A histogram of durations, one bucket for each power of two of nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: [u64; 64],
    count: u64,
    sum_ns: u64,
    longest_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [0; 64], count: 0, sum_ns: 0, longest_ns: 0 }
    }
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&mut self, duration_ns: u64) {
        self.buckets[duration_ns.checked_ilog2().unwrap_or(0) as usize] += 1;
        self.count += 1;
        self.sum_ns += duration_ns;
        self.longest_ns = self.longest_ns.max(duration_ns);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; 0 if there is none.
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count).unwrap_or(0)
    }

    /// The longest.
    pub fn longest_ns(&self) -> u64 {
        self.longest_ns
    }

    /// A duration that `percent` of those recorded do not exceed: the end of their bucket, or the longest.
    pub fn percentile_ns(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let end = u64::MAX >> (63 - bucket);
                return end.min(self.longest_ns);
            }
        }
        self.longest_ns
    }

    /// The buckets in use: shortest duration in nanoseconds (0 and 1 share the first), and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bucket, count)| (1 << bucket, *count))
    }

    /// Adds what `other` recorded.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_ns += other.sum_ns;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }
}

/// A histogram for each kind of fault that occurred.
#[derive(Clone, Debug, Default)]
pub struct FaultLatency {
    kinds: Vec<(FaultKind, Histogram)>,
    total: u64,
}

impl FaultLatency {
    /// Adds one fault.
    pub fn record(&mut self, kind: FaultKind, duration_ns: u64) {
        self.total += 1;
        self.entry(kind).record(duration_ns);
    }

    /// The histograms, in the order in which the kinds first occurred.
    pub fn iter(&self) -> impl Iterator<Item = (FaultKind, &Histogram)> {
        self.kinds.iter().map(|(kind, histogram)| (*kind, histogram))
    }

    /// Faults of all kinds.
    #[inline]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Adds what `other` recorded.
    pub fn merge(&mut self, other: &FaultLatency) {
        self.total += other.total;
        for (kind, histogram) in other.iter() {
            self.entry(kind).merge(histogram);
        }
    }

    fn entry(&mut self, kind: FaultKind) -> &mut Histogram {
        let place = self.kinds.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            self.kinds.push((kind, Histogram::default()));
            self.kinds.len() - 1
        });
        &mut self.kinds[place].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_bucket_ends() {
        let mut histogram = Histogram::default();
        for duration in [0, 1, 5, 6, 700] {
            histogram.record(duration);
        }
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(1, 2), (4, 2), (512, 1)]);
        assert_eq!(histogram.percentile_ns(50), 7);
        assert_eq!(histogram.percentile_ns(100), 700);
        assert_eq!(histogram.mean_ns(), 142);
    }

    #[test]
    fn kinds_are_kept_apart() {
        let (mut one, mut two) = (FaultLatency::default(), FaultLatency::default());
        one.record(FaultKind::Zero, 3);
        two.record(FaultKind::Zero, 4);
        two.record(FaultKind::Copied, 9);
        one.merge(&two);
        let counts: Vec<_> = one.iter().map(|(kind, histogram)| (kind, histogram.count())).collect();
        assert_eq!(counts, [(FaultKind::Zero, 2), (FaultKind::Copied, 1)]);
        assert_eq!(one.total(), 3);
    }
}
