//! What each CPU writes of a space, in a line of its own: counts, and where it searches.
//!
//! A space has a line for each CPU that has worked for it, made when the CPU first does: so one that ran on two CPUs of
//! 256 costs two lines. The lines are found by number: at first from a few words in the space, each of which leads to a
//! line, or where there are more CPUs than words, to a *block* of words of as many CPUs.
//!
//! No operation fails for want of a line. Who finds no memory for one, or only passes by, as reclaim does, uses the
//! line that the space itself has, and shares it: by atomic read-modify-writes.

use super::RssKind;
use super::place::arena;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::structure::holds;
use crate::sync::AtomicU64;
use crate::vm::Vm;
use core::ptr::{NonNull, with_exposed_provenance};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// Words in the space. That of a CPU says the lowest bits of its number, and its place in a block the others.
const ROOTS: usize = 16;
/// In such a word: it is the address of a block.
const IS_BLOCK: u64 = 1;
/// There is nothing: no line, which is asked for in one with whether it is a block.
const NONE: u64 = IS_BLOCK;

/// One CPU's part of a space, a cache line: written by that CPU alone, but for the one that is shared.
#[repr(C, align(64))]
struct Line<M> {
    /// Resident pages by kind, and entries in swap, gained less lost on this CPU.
    rss: [AtomicU64<M>; RssKind::COUNT],
    /// Where this CPU looks for free addresses first.
    cursor: AtomicU64<M>,
    /// Where this CPU emptied a table last; see [`Inner::note_emptied`](super::Inner::note_emptied).
    emptied: AtomicU64<M>,
    /// Where this CPU has seen that there is no room; see [`super::gap`].
    stretch: [AtomicU64<M>; 2],
}

const LINE_BYTES: usize = size_of::<Line<()>>();

/// The lines of a space.
#[repr(C)]
pub(super) struct Lines<M> {
    shared: Line<M>,
    /// Addresses of lines or, with [`IS_BLOCK`], of blocks of them; [`NONE`] where there is neither. They stay as long
    /// as the space does.
    roots: [AtomicU64<M>; ROOTS],
}

/// log2 of the CPUs for which there is one root; 0 if there are no blocks.
fn block_shift(cpus: usize) -> u32 {
    if cpus <= ROOTS { 0 } else { (cpus - 1).ilog2() + 1 - ROOTS.ilog2() }
}

impl<M: Machine> Line<M> {
    fn new(vm: &Vm<M>, cpu: usize) -> Self {
        Line {
            rss: [const { AtomicU64::new(0) }; RssKind::COUNT],
            cursor: AtomicU64::new(arena::<M::Arch>(cpu, vm.cpu_count()).0),
            emptied: AtomicU64::new(0),
            stretch: [const { AtomicU64::new(0) }; 2],
        }
    }

    /// The line at `address`, 0 for none, which is from `lines`.
    #[inline(always)]
    fn at(_lines: &Lines<M>, address: u64) -> Option<&Self> {
        // SAFETY: such an address is 0 or that of a line that was initialised before it was stored with release order, and
        // is freed with the space.
        unsafe { with_exposed_provenance::<Self>(address as usize).as_ref() }
    }
}

impl<M: Machine> Lines<M> {
    pub(super) fn new(vm: &Vm<M>) -> Self {
        Lines { shared: Line::new(vm, 0), roots: [const { AtomicU64::new(NONE) }; ROOTS] }
    }

    /// The words of the block at `address`, which is from a root.
    fn block(&self, vm: &Vm<M>, address: u64) -> &[AtomicU64<M>] {
        let block = with_exposed_provenance::<AtomicU64<M>>((address & !IS_BLOCK) as usize);
        // SAFETY: blocks have as many words, zero at first, and are freed with the space.
        unsafe { core::slice::from_raw_parts(block, 1 << block_shift(vm.cpu_count())) }
    }

    /// The word that leads to the line of `cpu`, if there is one already.
    fn word(&self, vm: &Vm<M>, cpu: usize) -> Option<&AtomicU64<M>> {
        let shift = block_shift(vm.cpu_count());
        let root = &self.roots[cpu % ROOTS];
        if shift == 0 {
            return Some(root);
        }
        match root.load(Acquire) {
            NONE => None,
            block => self.block(vm, block).get(cpu / ROOTS),
        }
    }

    #[inline(always)]
    fn line(&self, vm: &Vm<M>, cpu: usize) -> Option<&Line<M>> {
        let word = self.roots[cpu % ROOTS].load(Acquire);
        if word & IS_BLOCK != 0 {
            return self.line_of_block(vm, cpu);
        }
        // SAFETY: as in `Line::at`; it is not 0.
        Some(unsafe { &*with_exposed_provenance::<Line<M>>(word as usize) })
    }

    #[inline(never)]
    fn line_of_block(&self, vm: &Vm<M>, cpu: usize) -> Option<&Line<M>> {
        let word = self.word(vm, cpu)?.load(Acquire);
        if word == NONE { None } else { Line::at(self, word) }
    }

    /// The line of the current CPU, which has none yet: a new one or, if there is no memory, the shared one.
    #[cold]
    #[inline(never)]
    fn first(&self, cx: &Cx<'_, M>) -> &Line<M> {
        self.make(cx).unwrap_or(&self.shared)
    }

    #[inline(always)]
    fn own_or_shared(&self, cx: &Cx<'_, M>) -> &Line<M> {
        match self.line(cx.vm(), cx.number()) {
            Some(line) => line,
            None => self.first(cx),
        }
    }

    /// Makes the line of the current CPU, which has none. Any lock may be held that precedes those of slab caches.
    fn make(&self, cx: &Cx<'_, M>) -> Option<&Line<M>> {
        let (vm, cpu) = (cx.vm(), cx.number());
        let shift = block_shift(vm.cpu_count());
        let root = &self.roots[cpu % ROOTS];
        if shift > 0 && root.load(Acquire) == NONE {
            let bytes = size_of::<u64>() << shift;
            let block = cx.slab_alloc(bytes).ok()?;
            // Another CPU of the block may be faster.
            let address = block.as_ptr().expose_provenance() as u64;
            if root.compare_exchange(NONE, address | IS_BLOCK, AcqRel).is_err() {
                cx.slab_free(block, bytes);
            }
        }
        let word = self.word(vm, cpu)?;
        let line = cx.slab_alloc(LINE_BYTES).ok()?.cast::<Line<M>>();
        // SAFETY: just allocated, that large, and aligned to its size.
        unsafe { line.write(Line::new(vm, cpu)) };
        // Nobody but this CPU stores there.
        word.store(line.as_ptr().expose_provenance() as u64, Release);
        Line::at(self, word.load(Relaxed))
    }

    /// Frees all lines and blocks, at the end of the space.
    pub(super) fn free(&self, cx: &Cx<'_, M>) {
        let vm = cx.vm();
        let give_back = |address: u64, bytes| {
            NonNull::new(core::ptr::with_exposed_provenance_mut((address & !IS_BLOCK) as usize))
                .into_iter()
                .for_each(|memory| cx.slab_free(memory, bytes));
        };
        (0..vm.cpu_count())
            .filter_map(|cpu| self.word(vm, cpu))
            .for_each(|word| give_back(word.load(Acquire), LINE_BYTES));
        let shift = block_shift(vm.cpu_count());
        if shift > 0 {
            self.roots.iter().for_each(|root| give_back(root.load(Acquire), size_of::<u64>() << shift));
        }
    }

    /// Counts `pages` more (or, negative, fewer) pages of `kind`.
    #[inline(always)]
    pub(super) fn add(&self, cx: &Cx<'_, M>, kind: RssKind, pages: i64) {
        match self.line(cx.vm(), cx.number()) {
            Some(line) => line.rss[kind as usize].add_owned(pages as u64),
            None => self.add_first(cx, kind, pages),
        }
    }

    /// As [`Lines::add`], by a CPU that has no line. Who takes pages away, or puts them into swap, is reclaim, more
    /// often than not: it comes by many spaces, and leaves no line there.
    #[cold]
    #[inline(never)]
    fn add_first(&self, cx: &Cx<'_, M>, kind: RssKind, pages: i64) {
        let stays = pages > 0 && kind != RssKind::Swap;
        match stays.then(|| self.make(cx)).flatten() {
            Some(line) => line.rss[kind as usize].add_owned(pages as u64),
            None => _ = self.shared.rss[kind as usize].fetch_add(pages as u64, Relaxed),
        }
    }

    /// The sum of all CPUs' counts of `kind`.
    pub(super) fn sum(&self, vm: &Vm<M>, kind: RssKind) -> u64 {
        let lines = (0..vm.cpu_count()).filter_map(|cpu| self.line(vm, cpu)).chain([&self.shared]);
        lines.fold(0, |sum, line| sum.wrapping_add(line.rss[kind as usize].load(Relaxed)))
    }

    /// Where this CPU looks for free addresses first: a hint, also where it is shared.
    #[inline(always)]
    pub(super) fn cursor(&self, cx: &Cx<'_, M>) -> &AtomicU64<M> {
        &self.own_or_shared(cx).cursor
    }

    /// As [`Lines::cursor`], and where this CPU has seen that there is no room: a hint, as well.
    #[inline(always)]
    pub(super) fn cursor_and_stretch(&self, cx: &Cx<'_, M>) -> (&AtomicU64<M>, &[AtomicU64<M>; 2]) {
        let line = self.own_or_shared(cx);
        (&line.cursor, &line.stretch)
    }

    /// Where this CPU emptied a table last. Where it is shared one may be forgotten, and stays until the space ends or
    /// somebody empties it again.
    pub(super) fn emptied(&self, cx: &Cx<'_, M>) -> &AtomicU64<M> {
        &self.own_or_shared(cx).emptied
    }

    /// The CPU whose line contains `address`.
    pub(super) fn cpu_at(&self, vm: &Vm<M>, address: usize) -> Option<usize> {
        (0..vm.cpu_count()).find(|&cpu| self.line(vm, cpu).is_some_and(|line| holds(line, address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Prot;
    use crate::ops::{Access, MapRequest};
    use crate::testing::{TestMachine, become_cpu};
    use std::vec::Vec;
    use std::{println, vec};

    const PAGE: u64 = 4096;

    fn boot(cpus: usize) -> Vm<TestMachine> {
        become_cpu(0);
        Vm::new(TestMachine::with(&[(0x100, 4000, 0)], &vec![0; cpus])).expect("a machine that boots")
    }

    fn lines<'a>(space: &'a crate::Space<'_, TestMachine>) -> &'a Lines<TestMachine> {
        space.inner().lines()
    }

    fn add(vm: &Vm<TestMachine>, cpu: usize, lines: &Lines<TestMachine>, kind: RssKind, pages: i64) {
        become_cpu(cpu);
        lines.add(&Cx::enter(vm), kind, pages);
        become_cpu(0);
    }

    fn with_line(vm: &Vm<TestMachine>, lines: &Lines<TestMachine>) -> Vec<usize> {
        (0..vm.cpu_count()).filter(|&cpu| lines.line(vm, cpu).is_some()).collect()
    }

    #[test]
    fn a_cpu_has_a_line_when_it_has_worked_for_the_space() {
        for cpus in [1, 4, 16, 17, 33, 64, 255, 256] {
            let vm = boot(cpus);
            let mut frames = Vec::new();
            // So often that what is not freed shows.
            for _ in 0..100 {
                let (some, last) = ([0, cpus / 2, cpus - 1], cpus - 1);
                let space = vm.create_space().expect("memory");
                assert_eq!(with_line(&vm, lines(&space)), []);
                for cpu in some {
                    add(&vm, cpu, lines(&space), RssKind::File, 3);
                }
                add(&vm, last, lines(&space), RssKind::File, -2);
                let mut expected = Vec::from(some);
                expected.dedup();
                assert_eq!(with_line(&vm, lines(&space)), expected, "of {cpus}");
                assert_eq!(lines(&space).sum(&vm, RssKind::File), 7);
                for &cpu in &expected {
                    let line = lines(&space).line(&vm, cpu).expect("a line");
                    let address = (&raw const line.emptied).addr();
                    assert_eq!(lines(&space).cpu_at(&vm, address), Some(cpu));
                    assert_eq!(line.cursor.load(Relaxed), arena::<<TestMachine as Machine>::Arch>(cpu, cpus).0);
                }
                add(&vm, 0, lines(&space), RssKind::File, -7);
                drop(space);
                vm.quiesce();
                frames.push(vm.usage().slab);
            }
            assert_eq!(frames[1], frames[99], "lines and blocks are freed");
            vm.audited().expect("a sound machine");
        }
    }

    #[test]
    fn who_passes_by_or_finds_no_memory_shares_a_line() {
        let vm = boot(32);
        let space = vm.create_space().expect("memory");
        let lines = lines(&space);
        add(&vm, 3, lines, RssKind::Swap, 5);
        add(&vm, 3, lines, RssKind::Anonymous, -5);
        assert_eq!((with_line(&vm, lines), lines.sum(&vm, RssKind::Swap)), (vec![], 5));
        // Neither for the line, nor, the second time, for the block.
        for allowed in [1, 0] {
            vm.machine().allow_allocations(allowed);
            add(&vm, 9, lines, RssKind::Anonymous, 4);
            become_cpu(20);
            let cursors = [0, 1].map(|_| (&raw const *lines.cursor(&Cx::enter(&vm))).addr());
            become_cpu(0);
            assert_eq!(cursors, [(&raw const lines.shared.cursor).addr(); 2], "a search goes on all the same");
            assert_eq!(with_line(&vm, lines), []);
        }
        vm.machine().allow_allocations(u64::MAX);
        add(&vm, 9, lines, RssKind::Anonymous, 1);
        assert_eq!((with_line(&vm, lines), lines.sum(&vm, RssKind::Anonymous)), (vec![9], 4));
        add(&vm, 9, lines, RssKind::Anonymous, -4);
        add(&vm, 9, lines, RssKind::Swap, -5);
    }

    #[test]
    fn cpus_make_their_lines_at_once() {
        let vm = boot(64);
        for round in 0..200 {
            let space = vm.create_space().expect("memory");
            // Without memory they all count on one line.
            vm.machine().allow_allocations(if round % 2 == 0 { u64::MAX } else { 0 });
            std::thread::scope(|scope| {
                for cpu in 0..4 {
                    let (vm, space) = (&vm, &space);
                    scope.spawn(move || {
                        become_cpu(cpu);
                        for _ in 0..50 {
                            lines(space).add(&Cx::enter(vm), RssKind::File, 2);
                            lines(space).add(&Cx::enter(vm), RssKind::File, -1);
                        }
                    });
                }
            });
            vm.machine().allow_allocations(u64::MAX);
            assert_eq!(lines(&space).sum(&vm, RssKind::File), 200);
            assert_eq!(with_line(&vm, lines(&space)), if round % 2 == 0 { vec![0, 1, 2, 3] } else { vec![] });
            add(&vm, 0, lines(&space), RssKind::File, -200);
        }
        vm.quiesce();
        vm.audited().expect("a sound machine");
    }

    /// The figures of docs/MEASURES.md.
    #[test]
    fn a_space_costs_what_ran_in_it() {
        const SPACES: usize = 256;
        for cpus in [4, 64, 256] {
            let vm = boot(cpus);
            let before = vm.usage().slab;
            let spaces = Vec::from_iter((0..SPACES).map(|_| vm.create_space().expect("memory")));
            for space in &spaces {
                for cpu in [0, cpus - 1] {
                    become_cpu(cpu);
                    let at = space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE)).expect("room");
                    space.fault(at, Access::Write).expect("memory");
                    space.unmap(at, PAGE).expect("a mapping");
                }
            }
            become_cpu(0);
            let bytes = (vm.usage().slab - before) * PAGE / SPACES as u64;
            println!("{bytes} bytes for a space that ran on 2 of {cpus} CPUs");
            assert!(bytes <= 1024, "{bytes} bytes for a space that ran on 2 of {cpus} CPUs");
        }
    }
}
