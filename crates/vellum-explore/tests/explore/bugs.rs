//! Small algorithms with a known bug, which is found, and as they should be, in which nothing is found.

use super::closures::{Closures, Words};
use vellum_explore::MemoryOrder::{Sc, Tso};

const COUNTER: usize = 6;
const ENTERED: usize = 7;

/// Adds to a counter as only the holder of a lock may.
fn critical_section(words: &Words) {
    let seen = words.load(COUNTER);
    words.store(COUNTER, seen + 1);
}

fn nothing_is_lost(words: &Words) {
    assert_eq!(words.load(COUNTER), words.load(ENTERED), "an update is lost");
}

/// Peterson's lock; who does not get it at once gives up. Words 0 and 1: who wants it; 2: whose turn it is.
fn peterson(words: &Words, cpu: usize, fence: bool) {
    let other = 1 - cpu;
    words.store(cpu, 1);
    words.store(2, other as u64);
    if fence {
        words.fence();
    }
    if words.load(other) == 0 || words.load(2) != other as u64 {
        critical_section(words);
        words.store(cpu, 0);
        words.add(ENTERED, 1);
    }
}

/// Peterson's lock without its fence.
pub const PETERSON: Closures =
    Closures { run: |words, cpu| peterson(words, cpu, false), end: nothing_is_lost, ..Closures::EMPTY };

#[test]
fn peterson_needs_a_fence() {
    let fenced = Closures { run: |words, cpu| peterson(words, cpu, true), ..PETERSON };
    assert!(!PETERSON.breaks(Sc, 3, 0));
    assert!(!PETERSON.breaks(Tso, 3, 0));
    assert!(PETERSON.breaks(Tso, 1, 1));
    assert!(!fenced.breaks(Tso, 3, 2));
}

/// Dekker's entry; who sees the other gives up.
fn dekker(words: &Words, cpu: usize, fence: bool) {
    words.store(cpu, 1);
    if fence {
        words.fence();
    }
    if words.load(1 - cpu) == 0 {
        critical_section(words);
        words.add(ENTERED, 1);
    }
    words.store(cpu, 0);
}

#[test]
fn dekker_needs_a_fence() {
    let bare = Closures { run: |words, cpu| dekker(words, cpu, false), end: nothing_is_lost, ..Closures::EMPTY };
    let fenced = Closures { run: |words, cpu| dekker(words, cpu, true), ..bare };
    assert!(!bare.breaks(Sc, 3, 0));
    assert!(bare.breaks(Tso, 1, 1));
    assert!(!fenced.breaks(Tso, 3, 2));
}

/// A counter that loses updates.
pub const COUNT: Closures = Closures {
    run: |words, _| {
        critical_section(words);
        words.add(ENTERED, 1);
    },
    end: nothing_is_lost,
    ..Closures::EMPTY
};

#[test]
fn an_update_is_lost_by_one_preemption() {
    let atomic = Closures {
        run: |words, _| {
            words.add(COUNTER, 1);
            words.add(ENTERED, 1);
        },
        ..COUNT
    };
    assert!(!COUNT.breaks(Sc, 0, 0));
    assert!(COUNT.breaks(Sc, 1, 0));
    assert!(!atomic.breaks(Sc, 3, 0));
}

/// What was checked has changed by the time it is acted upon, and changes back: CPU 0 sees the state between.
pub const CHECK: Closures = Closures {
    run: |words, cpu| match cpu {
        0 => assert!(words.load(0) != 0 || words.load(0) != 1, "acts on what is not so any more"),
        _ => (1..3).for_each(|value| words.store(0, value)),
    },
    ..Closures::EMPTY
};

#[test]
fn a_check_goes_stale_by_two_preemptions() {
    assert!(!CHECK.breaks(Sc, 1, 0));
    assert!(CHECK.breaks(Sc, 2, 0));
}

/// A sequence lock: word 0 the sequence, 1 and 2 what it protects.
fn sequence(words: &Words, cpu: usize, check_again: bool) {
    if cpu == 0 {
        (0..4).zip([(0, 1), (1, 1), (2, 1), (0, 2)]).for_each(|(_, (word, value))| words.store(word, value));
        return;
    }
    let before = words.load(0);
    let (one, two) = (words.load(1), words.load(2));
    if before.is_multiple_of(2) && (!check_again || words.load(0) == before) {
        assert_eq!(one, two, "a torn read");
    }
}

/// A sequence lock whose reader does not look a second time.
pub const SEQUENCE: Closures = Closures { run: |words, cpu| sequence(words, cpu, false), ..Closures::EMPTY };

#[test]
fn a_sequence_lock_needs_its_second_look() {
    let right = Closures { run: |words, cpu| sequence(words, cpu, true), ..SEQUENCE };
    assert!(SEQUENCE.breaks(Sc, 1, 0));
    assert!(!right.breaks(Sc, 3, 0));
    assert!(!right.breaks(Tso, 3, 2));
}

/// Treiber's stack: word 0 its head, in which the upper bits count changes if they do; words 1 and 2 the next nodes.
struct Stack<'a>(&'a Words, u64);

impl Stack<'_> {
    fn pop(&self) -> u64 {
        loop {
            let head = self.0.load(0);
            let node = head & 15;
            if node == 0 {
                return 0;
            }
            let next = self.0.load(node as usize);
            if self.0.exchange(0, head, (head & !15) + self.1 + next) {
                return node;
            }
        }
    }

    fn push(&self, node: u64) {
        loop {
            let head = self.0.load(0);
            self.0.store(node as usize, head & 15);
            if self.0.exchange(0, head, (head & !15) + self.1 + node) {
                return;
            }
        }
    }

    fn run(&self, cpu: usize) {
        let node = self.pop();
        if cpu == 1 {
            let kept = self.pop();
            self.0.store(4, kept);
            if node != 0 {
                self.push(node);
            }
        }
    }
}

/// A stack that takes a node pushed again for one that was never popped.
pub const STACK: Closures = Closures {
    start: |words| {
        words.store(0, 1);
        words.store(1, 2);
    },
    run: |words, cpu| Stack(words, 0).run(cpu),
    end: |words| {
        let (head, kept) = (words.load(0) & 15, words.load(4));
        assert!(kept == 0 || head != kept, "a node that was popped is in the stack");
    },
    ..Closures::EMPTY
};

#[test]
fn a_stack_confuses_generations() {
    let counted = Closures { run: |words, cpu| Stack(words, 16).run(cpu), ..STACK };
    assert!(!STACK.breaks(Sc, 0, 0));
    assert!(STACK.breaks(Sc, 1, 0));
    assert!(!counted.breaks(Sc, 3, 0));
    assert!(!counted.breaks(Tso, 2, 1));
}

/// CPU 0 sleeps until there is work, CPU 1 makes some. Word 0: there is work; 1: CPU 0 sleeps.
fn sleep(words: &Words, cpu: usize, says_so_first: bool, fence: bool) {
    let fence = || {
        if fence {
            words.fence()
        }
    };
    match cpu {
        0 if says_so_first => {
            words.store(1, 1);
            fence();
            if words.load(0) == 0 {
                words.wait(0);
            }
        }
        0 => {
            if words.load(0) == 0 {
                words.store(1, 1);
                words.wait(0);
            }
        }
        _ => {
            words.store(0, 1);
            fence();
            if words.load(1) == 1 {
                words.set(0);
            }
        }
    }
}

/// A CPU that looks for work before it says that it sleeps.
pub const SLEEP: Closures = Closures { run: |words, cpu| sleep(words, cpu, false, true), ..Closures::EMPTY };

#[test]
fn a_wake_up_is_lost() {
    let right = Closures { run: |words, cpu| sleep(words, cpu, true, true), ..SLEEP };
    let unfenced = Closures { run: |words, cpu| sleep(words, cpu, true, false), ..SLEEP };
    let (broken, _) = SLEEP.search(Sc, 1, 0).broken.unwrap();
    assert_eq!((&*broken.invariant, &*broken.detail), ("I-PROG", "deadlock: CPU 0 waits"));
    assert!(!right.breaks(Tso, 3, 2));
    assert!(!unfenced.breaks(Sc, 3, 0));
    assert!(unfenced.breaks(Tso, 1, 1));
}

/// Two locks, taken in different orders.
pub const LOCKS: Closures = Closures {
    run: |words, cpu| {
        words.lock(cpu);
        words.lock(1 - cpu);
        words.unlock(1 - cpu);
        words.unlock(cpu);
    },
    ..Closures::EMPTY
};

#[test]
fn locks_have_an_order() {
    let ordered = Closures {
        run: |words, _| {
            (0..2).for_each(|lock| words.lock(lock));
            (0..2).for_each(|lock| words.unlock(lock));
        },
        cpus: 3,
        ..LOCKS
    };
    let (broken, _) = LOCKS.search(Sc, 1, 0).broken.unwrap();
    assert_eq!(broken.detail, "deadlock: CPU 0 waits; CPU 1 waits");
    assert!(!ordered.breaks(Sc, 2, 0));
    assert!(!ordered.breaks(Tso, 1, 1));
}
