//! What a write-back promises.
//!
//! When it returns, the backing holds what was stored to the file before it began, or something newer (I-DIRTY). Stores
//! through mappings count as soon as they are done; those of devices when the device has said so.

use std::collections::BTreeMap;

/// What was stored to one page of the file.
struct History {
    /// In order; at first, what the page has in the beginning.
    values: Vec<u64>,
    /// The last of them that a write-back must write.
    required: usize,
    /// Changes with every truncation that takes the page away.
    epoch: u32,
    /// Truncations under way that do.
    cut: u32,
}

impl Default for History {
    fn default() -> History {
        History { values: vec![0], required: 0, epoch: 0, cut: 0 }
    }
}

/// What was stored to the file.
#[derive(Default)]
pub(super) struct Written(BTreeMap<u64, History>);

/// What a write-back that has begun is to write: by page, the epoch and the first store that it may leave.
#[derive(Default)]
pub(crate) struct Promise(Vec<(u64, u32, usize)>);

impl Written {
    /// A store to page `index`; whether a write-back that begins now must write it.
    pub(super) fn store(&mut self, index: u64, value: u64, is_required: bool) {
        let history = self.0.entry(index).or_default();
        history.values.push(value);
        if is_required {
            history.required = history.values.len() - 1;
        }
    }

    /// The device that stored `value` has said so.
    pub(super) fn said(&mut self, index: u64, value: u64) {
        let history = self.0.entry(index).or_default();
        let last = history.values.iter().rposition(|&stored| stored == value);
        history.required = history.required.max(last.unwrap_or(0));
    }

    /// A truncation of page `index` begins.
    pub(super) fn begin_cut(&mut self, index: u64) {
        let history = self.0.entry(index).or_default();
        (history.epoch, history.cut) = (history.epoch + 1, history.cut + 1);
    }

    /// It has ended; whether it was done.
    pub(super) fn end_cut(&mut self, index: u64, done: bool) {
        let history = self.0.entry(index).or_default();
        (history.epoch, history.cut) = (history.epoch + 1, history.cut.saturating_sub(1));
        if done {
            (history.values, history.required) = (vec![0], 0);
        }
    }

    /// A hole has been made of page `index`; whether it was done. What was stored meanwhile may have stayed.
    pub(super) fn end_hole(&mut self, index: u64, done: bool) {
        self.end_cut(index, false);
        let history = self.0.entry(index).or_default();
        if done {
            history.values.push(0);
            history.required = 0;
        }
    }

    /// What a write-back that begins now is to write.
    pub(super) fn promise(&self) -> Promise {
        let kept = self.0.iter().filter(|(_, history)| history.cut == 0);
        Promise(kept.map(|(&index, history)| (index, history.epoch, history.required)).collect())
    }

    /// What of `promise` the backing lacks, which holds `backing` in each page.
    pub(super) fn lacks(&self, promise: &Promise, backing: impl Fn(u64) -> u64) -> Option<String> {
        promise.0.iter().find_map(|&(index, epoch, required)| {
            let history = self.0.get(&index).filter(|history| history.epoch == epoch)?;
            let may_be = history.values.get(required..)?;
            let found = backing(index);
            let stored = may_be.first()?;
            (!may_be.contains(&found)).then(|| {
                format!(
                    "write-back has returned; of page {index} the backing has {found}, and {stored} was stored before"
                )
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_before_is_required() {
        let mut written = Written::default();
        written.store(0, 1, true);
        written.store(0, 2, true);
        let promise = written.promise();
        written.store(0, 3, true);
        assert!(written.lacks(&promise, |_| 1).is_some());
        assert!(written.lacks(&promise, |_| 2).is_none());
        assert!(written.lacks(&promise, |_| 3).is_none(), "something newer");
    }

    #[test]
    fn a_device_must_have_said_so() {
        let mut written = Written::default();
        written.store(0, 1, false);
        assert!(written.lacks(&written.promise(), |_| 0).is_none());
        written.said(0, 1);
        assert!(written.lacks(&written.promise(), |_| 0).is_some());
    }

    #[test]
    fn nothing_is_required_of_what_was_truncated() {
        let mut written = Written::default();
        written.store(1, 1, true);
        let before = written.promise();
        written.begin_cut(1);
        assert!(written.lacks(&before, |_| 0).is_none());
        assert!(written.lacks(&written.promise(), |_| 0).is_none());
        written.end_cut(1, true);
        assert!(written.lacks(&written.promise(), |_| 0).is_none());
    }
}
