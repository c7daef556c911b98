//! Sequence counts.

use super::machine::{LoomMachine, become_cpu};
use super::words::{LEADING, NO_ACQUIRE, NO_FENCES, NO_RELEASE, seal, share};
use super::{breaks, holds};
use crate::sync::{AtomicU32, AtomicU64, Sequence};
use core::sync::atomic::Ordering::Relaxed;
use loom::thread;
use std::sync::Arc;

const PREEMPTIONS: usize = 3;
/// Changes made while the reader reads.
const CHANGES: u64 = 2;
const TORN: &str = "two words that do not belong together";

struct Counted {
    count: AtomicU32<LoomMachine>,
    words: [AtomicU64<LoomMachine>; 2],
}

impl Counted {
    fn write(&self, value: u64) {
        let _change = Sequence(&self.count).change();
        self.words.iter().for_each(|word| word.store(value, Relaxed));
    }

    /// Tries once to read the words: what they are, if they belong together.
    fn read(&self) -> Option<[u64; 2]> {
        let sequence = Sequence(&self.count);
        let before = sequence.begin()?;
        let words = [0, 1].map(|place: usize| self.words[place].load(Relaxed));
        sequence.is_still(before).then_some(words)
    }
}

fn one_reads_while_one_writes() {
    let counted = Arc::new(Counted { count: AtomicU32::new(0), words: [const { AtomicU64::new(0) }; 2] });
    share(&*counted);
    counted.write(1);
    seal();
    let reader = counted.clone();
    let thread = thread::spawn(move || {
        become_cpu(1);
        if let Some([first, second]) = reader.read() {
            assert_eq!(first, second, "{TORN}");
        }
    });
    (2..2 + CHANGES).for_each(|value| counted.write(value));
    thread.join().expect("the thread ends");
    assert_eq!(counted.read(), Some([1 + CHANGES; 2]), "nobody writes any more");
}

#[test]
fn what_is_read_within_one_count_belongs_together() {
    holds(LEADING, PREEMPTIONS, one_reads_while_one_writes);
}

#[test]
fn but_not_without_the_fences() {
    breaks(LEADING | NO_FENCES, PREEMPTIONS, one_reads_while_one_writes, TORN);
}

#[test]
fn and_not_if_the_end_of_a_change_does_not_release() {
    breaks(LEADING | NO_RELEASE, PREEMPTIONS, one_reads_while_one_writes, TORN);
}

#[test]
fn and_not_if_the_begin_of_a_read_does_not_acquire() {
    breaks(LEADING | NO_ACQUIRE, PREEMPTIONS, one_reads_while_one_writes, TORN);
}
