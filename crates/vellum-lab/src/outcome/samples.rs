//! A constant number of samples of a run of unknown length.

/// Values over time, at most [`Samples::MAX`] of them: when there are more, every other one is dropped and the
/// interval doubled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    /// (time, value), in order.
    points: Vec<(u64, u64)>,
    interval: u64,
    next: u64,
}

impl Samples {
    /// The most that are kept.
    pub const MAX: usize = 64;

    /// None yet; the first at time 0, the next `interval` later.
    pub fn every(interval: u64) -> Samples {
        Samples { points: Vec::new(), interval: interval.max(1), next: 0 }
    }

    /// Whether a sample is due at `time`.
    #[inline]
    pub fn is_due(&self, time: u64) -> bool {
        time >= self.next
    }

    /// Takes the sample of `time`.
    pub fn push(&mut self, time: u64, value: u64) {
        if self.points.len() == Self::MAX {
            let mut keep = false;
            self.points.retain(|_| {
                keep = !keep;
                keep
            });
            self.interval *= 2;
        }
        self.points.push((time, value));
        self.next = time.saturating_add(self.interval);
    }

    /// The samples: (time, value).
    pub fn points(&self) -> &[(u64, u64)] {
        &self.points
    }
}

impl Default for Samples {
    fn default() -> Samples {
        Samples::every(4096)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_stays_constant() {
        let mut samples = Samples::every(10);
        for time in 0..1_000_000 {
            if samples.is_due(time) {
                samples.push(time, time * 2);
            }
        }
        let points = samples.points();
        assert!((Samples::MAX / 2..=Samples::MAX).contains(&points.len()), "{}", points.len());
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 == pair[0].0 * 2));
        assert_eq!(points[0].0, 0);
        assert!(points[points.len() - 1].0 > 900_000);
    }
}
