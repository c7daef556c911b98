//! What the core touches of its shared state: words read, read-modify-writes, and cache lines written.

use std::cell::RefCell;
use std::collections::BTreeSet;
use vellum::Touch;

const LINE_SHIFT: u32 = 6;

#[derive(Default)]
struct Record {
    on: bool,
    loads: u64,
    modifies: u64,
    lines_written: BTreeSet<usize>,
}

thread_local!(static RECORD: RefCell<Record> = RefCell::default());

/// Counts one access.
pub fn observe(address: usize, touch: Touch) {
    RECORD.with_borrow_mut(|record| {
        if !record.on {
            return;
        }
        if touch == Touch::Load {
            record.loads += 1;
            return;
        }
        record.modifies += (touch == Touch::Modify) as u64;
        record.lines_written.insert(address >> LINE_SHIFT);
    });
}

/// Runs `operation`; the words of shared state that it read, each as often as it did.
pub fn loads_during(operation: impl FnOnce()) -> u64 {
    RECORD.set(Record { on: true, ..Record::default() });
    operation();
    RECORD.take().loads
}

/// Runs `operation`; its atomic read-modify-writes, and the lines it wrote.
pub fn during(operation: impl FnOnce()) -> (u64, u64) {
    RECORD.set(Record { on: true, ..Record::default() });
    operation();
    let record = RECORD.take();
    (record.modifies, record.lines_written.len() as u64)
}
