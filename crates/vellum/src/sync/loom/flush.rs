//! Flushes of a space: through mailboxes, on two CPUs that serve each other; and who is a target.

use super::machine::{Hooks, LoomMachine, become_cpu, set_hooks, vm};
use super::words::{LEADING, NO_ACQUIRE, NO_RELEASE, NO_SEQ_CST, TRAILING, seal, share, unseen};
use super::{breaks, holds};
use crate::Space;
use crate::arch::Prot;
use crate::machine::Machine;
use crate::ops::{Access, FaultKind, MapRequest, Place};
use crate::sync::AtomicU64;
use crate::vm::Vm;
use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering::Relaxed;
use loom::thread;
use std::rc::Rc;
use std::sync::Arc;

const PREEMPTIONS: usize = 2;
const CPUS: [usize; 2] = [0, 1];
const PAGE: u64 = 4096;
/// Each CPU has a leaf table of its own, with pages for the preparation, for the test, and one that stays.
const BASES: [u64; 2] = [0x1000_0000, 0x1100_0000];
const STALE: &str = "the flush is over and the other CPU has not seen the change";

type Words = [AtomicU64<LoomMachine>; 2];

struct Flushed {
    vm: &'static Vm<LoomMachine>,
    /// Ended by [`Flushed::end`] alone: not while a failed execution is unwound.
    space: ManuallyDrop<Space<'static, LoomMachine>>,
    /// By CPU: what it changes before it flushes.
    changed: Words,
    /// By CPU: what it saw of each change when it last dropped translations.
    seen: [Words; 2],
    /// By CPU: whether it has flushed.
    is_done: Words,
}

impl Flushed {
    fn new() -> Arc<Self> {
        let vm = vm();
        let words = || [const { AtomicU64::new(0) }; 2];
        let space = ManuallyDrop::new(unseen(|| vm.create_space().expect("enough memory")));
        let seen = [words(), words()];
        let flushed = Arc::new(Flushed { vm, space, changed: words(), seen, is_done: words() });
        unseen(|| CPUS.iter().for_each(|&cpu| flushed.prepare(cpu)));
        CPUS.iter().for_each(|&cpu| share(&vm.cpu(cpu).tlb.mailbox));
        share(flushed.space.inner().tlb());
        share(&flushed.changed);
        share(&flushed.seen);
        share(&flushed.is_done);
        let (on_invalidate, on_interrupt) = (flushed.clone(), flushed.clone());
        set_hooks(Hooks {
            invalidate: Some(Rc::new(move || on_invalidate.invalidate())),
            // SAFETY: threads of the model are CPUs.
            interrupt: Some(Rc::new(move || unsafe { on_interrupt.vm.handle_interrupt() })),
        });
        CPUS.iter().for_each(|&cpu| {
            become_cpu(cpu);
            flushed.is_done[cpu].store(0, Relaxed);
            flushed.changed[cpu].store(0, Relaxed);
        });
        CPUS.iter().for_each(|&cpu| {
            become_cpu(cpu);
            flushed.unmap(cpu, 0);
        });
        become_cpu(0);
        flushed
    }

    /// Maps the pages of CPU `cpu`, which runs in the space from then on.
    fn prepare(&self, cpu: usize) {
        become_cpu(cpu);
        self.vm.switch_to(Some(&self.space));
        let request = MapRequest::anonymous(3 * PAGE, Prot::READ_WRITE).at(Place::FixedNoReplace(BASES[cpu]));
        assert_eq!(self.space.map(&request), Ok(BASES[cpu]));
        for page in 0..3 {
            assert_eq!(self.space.fault(BASES[cpu] + page * PAGE, Access::Write), Ok(FaultKind::Anonymous));
        }
    }

    fn unmap(&self, cpu: usize, page: u64) {
        assert_eq!(self.space.unmap(BASES[cpu] + page * PAGE, PAGE), Ok(()));
    }

    fn invalidate(&self) {
        let seen = &self.seen[self.vm.machine().current_cpu()];
        CPUS.iter().for_each(|&cpu| seen[cpu].store(self.changed[cpu].load(Relaxed), Relaxed));
    }

    /// What CPU `cpu` does.
    fn flush(&self, cpu: usize) {
        let other = 1 - cpu;
        self.changed[cpu].store(1, Relaxed);
        self.unmap(cpu, 1);
        assert_eq!(self.seen[other][cpu].load(Relaxed), 1, "{STALE}");
        self.is_done[cpu].store(1, Relaxed);
        self.serve_until_done(other);
    }

    fn serve_until_done(&self, other: usize) {
        while self.is_done[other].load(Relaxed) == 0 {
            // SAFETY: threads of the model are CPUs.
            unsafe { self.vm.handle_interrupt() };
            thread::yield_now();
        }
    }

    /// CPU `cpu` enters the space and reads what CPU `other` changes; it serves flushes until that has flushed.
    fn walk(&self, cpu: usize, other: usize) {
        self.vm.switch_to(Some(&self.space));
        let cached = self.changed[other].load(Relaxed);
        self.serve_until_done(other);
        let dropped = self.seen[cpu][other].load(Relaxed);
        assert!(cached == 1 || dropped == 1, "the CPU was no target, and has read what was there before");
    }

    /// Takes the CPUs out of the space, and ends it.
    fn end(self: Arc<Self>) {
        set_hooks(Hooks::default());
        unseen(|| {
            CPUS.iter().for_each(|&cpu| {
                become_cpu(cpu);
                self.vm.switch_to(None);
            });
            let flushed = Arc::into_inner(self).expect("nobody else uses it any more");
            drop(ManuallyDrop::into_inner(flushed.space));
        });
    }
}

fn both_flush() {
    let flushed = Flushed::new();
    seal();
    let other = flushed.clone();
    let thread = thread::spawn(move || {
        become_cpu(1);
        other.flush(1);
    });
    flushed.flush(0);
    thread.join().expect("the thread ends");
    flushed.end();
}

fn one_enters_while_one_flushes() {
    let flushed = Flushed::new();
    become_cpu(1);
    flushed.vm.switch_to(None);
    become_cpu(0);
    seal();
    let other = flushed.clone();
    let thread = thread::spawn(move || {
        become_cpu(1);
        other.walk(1, 0);
    });
    flushed.changed[0].store(1, Relaxed);
    flushed.unmap(0, 1);
    flushed.is_done[0].store(1, Relaxed);
    thread.join().expect("the thread ends");
    flushed.end();
}

#[test]
fn a_flush_ends_after_the_other_cpu_has_seen_the_change() {
    holds(LEADING, PREEMPTIONS, both_flush);
    holds(TRAILING, PREEMPTIONS, both_flush);
    // That much needs no sequential consistency.
    holds(NO_SEQ_CST, PREEMPTIONS, both_flush);
}

#[test]
fn but_not_if_mailboxes_do_not_release() {
    breaks(LEADING | NO_RELEASE, PREEMPTIONS, both_flush, STALE);
}

#[test]
fn and_not_if_they_do_not_acquire() {
    breaks(LEADING | NO_ACQUIRE, PREEMPTIONS, both_flush, STALE);
}

#[test]
fn who_enters_a_space_is_a_target_or_sees_the_change() {
    holds(LEADING, PREEMPTIONS, one_enters_while_one_flushes);
    holds(TRAILING, PREEMPTIONS, one_enters_while_one_flushes);
}

#[test]
fn but_not_without_sequential_consistency() {
    breaks(NO_SEQ_CST, PREEMPTIONS, one_enters_while_one_flushes, "the CPU was no target");
}
