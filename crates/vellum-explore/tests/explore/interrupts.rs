//! Interrupts: a handler comes between any two accesses of its CPU, if interrupts are on, soon or late.

use super::closures::{Closures, Words};
use vellum_explore::MemoryOrder::{Sc, Tso};
use vellum_explore::wait::{send_interrupt, with_interrupts_off};

fn holds_lock(words: &Words) {
    words.lock(0);
    words.add(0, 1);
    words.unlock(0);
}

/// A lock that the handler takes as well. Nobody else does: the lock is a matter of one CPU and its handler.
pub const HANDLER_LOCK: Closures = Closures {
    run: |words, cpu| match cpu {
        0 => holds_lock(words),
        _ => send_interrupt(std::iter::once(0)),
    },
    interrupt: |words, _| holds_lock(words),
    ..Closures::EMPTY
};

#[test]
fn a_handler_waits_for_what_it_interrupted() {
    let right = Closures {
        run: |words, cpu| match cpu {
            0 => with_interrupts_off(|| holds_lock(words)),
            _ => send_interrupt(std::iter::once(0)),
        },
        end: |words| assert_eq!(words.load(0), 2),
        ..HANDLER_LOCK
    };
    for order in [Sc, Tso] {
        let (broken, _) = HANDLER_LOCK.search(order, 1, 0).broken.unwrap();
        assert_eq!(broken.detail, "deadlock: CPU 0 waits");
        assert!(!right.breaks(order, 3, 1));
    }
}

/// A handler that adds to what its CPU adds to in two steps.
#[test]
fn a_handler_comes_between() {
    let program = Closures {
        run: |words, cpu| match cpu {
            0 => words.store(0, words.load(0) + 1),
            _ => send_interrupt(std::iter::once(0)),
        },
        interrupt: |words, _| words.store(0, words.load(0) + 1),
        end: |words| assert_eq!(words.load(0), 2),
        ..Closures::EMPTY
    };
    assert!(!program.breaks(Sc, 0, 0));
    assert!(program.breaks(Sc, 1, 0));
}

/// The sender is pre-empted just before it sends: what it stored before is seen without the interrupt.
#[test]
fn an_interrupt_comes_later_than_the_store_before() {
    let program = Closures {
        run: |words, cpu| match cpu {
            0 => {
                words.store(0, 1);
                send_interrupt(std::iter::once(1));
            }
            _ => {
                let seen = words.load(0);
                assert!(seen == 0 || words.load(1) == 1, "seen before the interrupt");
            }
        },
        interrupt: |words, _| words.store(1, 1),
        ..Closures::EMPTY
    };
    assert!(program.breaks(Sc, 1, 0));
}

fn shootdown(words: &Words, cpu: usize, fence: bool) {
    if cpu != 0 {
        let _ = words.load(0);
        return;
    }
    words.store(0, 1);
    if fence {
        words.fence();
    }
    send_interrupt(1..3);
    (1..3).for_each(|target| words.wait(target));
    assert_eq!(words.load(1) + words.load(2), 2, "a handler did not see what it was sent for");
}

/// A sender that waits for the handlers' answers: they see what it stored before, if that left its buffer first.
#[test]
fn a_shootdown_needs_a_fence() {
    let program = Closures {
        cpus: 3,
        run: |words, cpu| shootdown(words, cpu, true),
        interrupt: |words, cpu| {
            words.store(cpu, words.load(0));
            words.set(cpu);
        },
        ..Closures::EMPTY
    };
    let bare = Closures { run: |words, cpu| shootdown(words, cpu, false), ..program };
    assert!(!program.breaks(Sc, 3, 0));
    assert!(!program.breaks(Tso, 2, 2));
    assert!(!bare.breaks(Sc, 2, 0));
    assert!(bare.breaks(Tso, 0, 1));
}

/// Word 0: the TLB of CPU 1 has the frame's translation; the frame is free; it is in use again.
const CACHED: u64 = 1;
const FREE: u64 = 2;
const AGAIN: u64 = 4;

/// CPU 0 unmaps a page and frees its frame, after CPU 1 has dropped the translation if it `waits`; CPU 2 allocates the
/// frame; CPU 1 uses the page, in one step.
fn unmap(words: &Words, cpu: usize, waits: bool) {
    match cpu {
        0 => {
            send_interrupt(std::iter::once(1));
            if waits {
                words.wait(1);
            }
            words.add(0, FREE);
        }
        1 => {
            let seen = words.load(0);
            assert!(seen & CACHED == 0 || seen & AGAIN == 0, "an access to a frame that is another's");
        }
        _ => {
            let seen = words.load(0);
            if seen & FREE != 0 {
                words.exchange(0, seen, seen | AGAIN);
            }
        }
    }
}

/// A frame is freed before the interrupt has been acknowledged by which its translation is dropped.
pub const EARLY_FREE: Closures = Closures {
    cpus: 3,
    start: |words| words.store(0, CACHED),
    run: |words, cpu| unmap(words, cpu, false),
    interrupt: |words, cpu| {
        words.add(0, CACHED.wrapping_neg());
        words.set(cpu);
    },
    ..Closures::EMPTY
};

/// No pre-emption shows it: the target would have to run between the sender's steps without taking the interrupt.
#[test]
fn a_frame_is_freed_before_the_interrupt_is_taken() {
    let right = Closures { run: |words, cpu| unmap(words, cpu, true), ..EARLY_FREE };
    for order in [Sc, Tso] {
        assert!(!EARLY_FREE.breaks(order, 3, 0));
        assert!(EARLY_FREE.breaks(order, 0, 1));
        assert!(!right.breaks(order, 2, 2));
    }
}

/// One target has acknowledged, the other runs on.
#[test]
fn an_acknowledgement_of_one_target_is_not_that_of_all() {
    let program = Closures {
        cpus: 3,
        run: |words, cpu| match cpu {
            0 => {
                send_interrupt(1..3);
                words.wait(2);
                words.store(0, 1);
            }
            1 => assert!(words.load(0) == 0 || words.load(1) == 1, "the sender goes on without CPU 1"),
            _ => (),
        },
        interrupt: |words, cpu| {
            words.store(cpu, 1);
            words.set(cpu);
        },
        ..Closures::EMPTY
    };
    assert!(!program.breaks(Sc, 3, 0));
    assert!(program.breaks(Sc, 1, 1));
}

/// An interrupt that is put off comes before any later access, for one surprise.
#[test]
fn one_surprise_puts_an_interrupt_off_as_long_as_one_likes() {
    let program = Closures {
        run: |words, cpu| match cpu {
            0 => send_interrupt(std::iter::once(1)),
            _ => (0..5).for_each(|_| _ = words.add(0, 1)),
        },
        interrupt: |words, _| {
            let accesses = words.load(0);
            words.store(1, accesses + 1);
        },
        end: |words| assert_ne!(words.load(1), 4),
        ..Closures::EMPTY
    };
    assert!(!program.breaks(Sc, 0, 0));
    assert!(program.breaks(Sc, 0, 1));
}

/// A wait that only the interrupt ends is no deadlock, however often interrupts are put off; nor is one of a CPU that
/// has nothing else to do.
#[test]
fn an_interrupt_comes_in_the_end() {
    let program = Closures {
        cpus: 3,
        run: |words, cpu| match cpu {
            0 => {
                send_interrupt(1..3);
                (1..3).for_each(|target| words.wait(target));
            }
            1 => {
                words.add(0, 1);
                words.wait(1);
            }
            _ => _ = words.add(0, 1),
        },
        interrupt: |words, cpu| words.set(cpu),
        ..Closures::EMPTY
    };
    for order in [Sc, Tso] {
        assert!(!program.breaks(order, 2, 2));
    }
}

/// A CPU that waits goes on by what it waited for, and takes the interrupt that has come meanwhile later.
#[test]
fn an_interrupt_is_put_off_past_a_wait() {
    let program = Closures {
        run: |words, cpu| match cpu {
            0 => {
                send_interrupt(std::iter::once(1));
                words.set(0);
            }
            _ => {
                words.wait(0);
                assert_eq!(words.load(1), 1, "no interrupt yet");
            }
        },
        interrupt: |words, _| words.store(1, 1),
        ..Closures::EMPTY
    };
    assert!(!program.breaks(Sc, 3, 0));
    assert!(program.breaks(Sc, 0, 1));
}
