//! Interrupts: a handler comes between any two accesses of its CPU, if interrupts are on.

use super::closures::{Closures, Words};
use vellum_lab::explore::MemoryOrder::{Sc, Tso};
use vellum_lab::explore::wait::{send_interrupt, with_interrupts_off};

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
