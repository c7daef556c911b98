//! Who touched which cache line: what a recording [`Det`](crate::det::Det) observes between [`start`] and [`stop`].
//!
//! The record is the host thread's: [`Machine::observe`](vellum::Machine::observe) has no machine to ask. It holds
//! accesses through `vellum::sync` only; what the core writes privately (clearing a page it just allocated) and what
//! the simulated hardware does are not in it.

use crate::observed::{self, Watcher};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use vellum::Touch;

/// log2 of the bytes of a cache line.
pub const LINE_SHIFT: u32 = 6;

/// One access to shared state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The simulated CPU.
    pub cpu: usize,
    /// The address, in the host's memory.
    pub address: usize,
    /// What was done.
    pub touch: Touch,
}

impl Record {
    /// The number of the cache line.
    pub fn line(&self) -> usize {
        self.address >> LINE_SHIFT
    }

    /// Whether it makes the line the CPU's own.
    pub fn writes(&self) -> bool {
        self.touch != Touch::Load
    }
}

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static RECORDS: RefCell<Vec<Record>> = const { RefCell::new(Vec::new()) };
}

/// Begins a record, forgetting an unfinished one.
pub fn start() {
    RECORDS.with_borrow_mut(Vec::clear);
    observed::set(Watcher::Recorder, true);
}

/// Ends it.
pub fn stop() -> Vec<Record> {
    observed::set(Watcher::Recorder, false);
    RECORDS.take()
}

pub(crate) fn set_cpu(cpu: usize) {
    CPU.set(cpu);
}

/// An access of the core, while there is a record.
pub(crate) fn record(address: usize, touch: Touch) {
    RECORDS.with_borrow_mut(|records| records.push(Record { cpu: CPU.get(), address, touch }));
}

/// What one CPU did in a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSummary {
    /// Loads.
    pub loads: u64,
    /// Plain stores.
    pub stores: u64,
    /// Atomic read-modify-writes.
    pub modifies: u64,
    /// The lines loaded from.
    pub lines_read: BTreeSet<usize>,
    /// The lines stored to or modified.
    pub lines_written: BTreeSet<usize>,
}

/// A record, summed up by CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// By CPU number.
    pub cpus: BTreeMap<usize, CpuSummary>,
    /// The addresses touched, by line.
    pub addresses: BTreeMap<usize, BTreeSet<usize>>,
}

/// A line that several CPUs touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLine {
    /// Number of the line.
    pub line: usize,
    /// The CPUs that wrote it.
    pub writers: Vec<usize>,
    /// The CPUs that only read it.
    pub readers: Vec<usize>,
    /// The addresses in it that were touched.
    pub addresses: Vec<usize>,
}

impl Summary {
    /// Sums up `records`.
    pub fn of(records: &[Record]) -> Summary {
        let mut summary = Summary::default();
        for record in records {
            let cpu = summary.cpus.entry(record.cpu).or_default();
            match record.touch {
                Touch::Load => cpu.loads += 1,
                Touch::Store => cpu.stores += 1,
                Touch::Modify => cpu.modifies += 1,
            }
            let lines = if record.writes() { &mut cpu.lines_written } else { &mut cpu.lines_read };
            lines.insert(record.line());
            summary.addresses.entry(record.line()).or_default().insert(record.address);
        }
        summary
    }

    /// The lines that two CPUs or more wrote.
    pub fn lines_written_by_several(&self) -> Vec<SharedLine> {
        self.shared().into_iter().filter(|shared| shared.writers.len() > 1).collect()
    }

    /// The lines that one CPU wrote and another one touched: those which move between caches.
    pub fn lines_contended(&self) -> Vec<SharedLine> {
        let moves = |shared: &SharedLine| !shared.writers.is_empty() && shared.writers.len() + shared.readers.len() > 1;
        self.shared().into_iter().filter(moves).collect()
    }

    fn shared(&self) -> Vec<SharedLine> {
        let describe = |(&line, addresses): (&usize, &BTreeSet<usize>)| {
            let wrote = |number: &&usize| self.cpus[*number].lines_written.contains(&line);
            let read = |number: &&usize| self.cpus[*number].lines_read.contains(&line) && !wrote(number);
            SharedLine {
                line,
                writers: self.cpus.keys().filter(wrote).copied().collect(),
                readers: self.cpus.keys().filter(read).copied().collect(),
                addresses: addresses.iter().copied().collect(),
            }
        };
        self.addresses.iter().map(describe).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::observe;

    #[test]
    fn records_only_between_start_and_stop() {
        observe(64, Touch::Store);
        start();
        set_cpu(1);
        observe(128, Touch::Modify);
        set_cpu(0);
        assert_eq!(stop(), [Record { cpu: 1, address: 128, touch: Touch::Modify }]);
        observe(64, Touch::Store);
        assert_eq!(stop(), []);
    }

    #[test]
    fn shared_lines_are_found() {
        let touches = [(0, 64, Touch::Store), (1, 72, Touch::Modify), (0, 128, Touch::Store), (1, 128, Touch::Load)];
        let records = touches.map(|(cpu, address, touch)| Record { cpu, address, touch });
        let summary = Summary::of(&records);
        assert_eq!(summary.cpus[&1].modifies, 1);
        let expected = SharedLine { line: 1, writers: vec![0, 1], readers: vec![], addresses: vec![64, 72] };
        assert_eq!(summary.lines_written_by_several(), [expected]);
        assert_eq!(summary.lines_contended().len(), 2);
    }
}
