//! Programs that several scenarios look at, each with another protection off. With all of them on, a program is
//! searched once. And parts of programs, for scenarios at different places.

use vellum_lab::scenario::{At, Cpu, LEAF, Process, Prot, Scenario, X, Y, actor};

/// A table becomes empty and is given back, while a fault puts another page there.
pub(crate) const EMPTIED_BESIDE_FAULT: Scenario = Scenario {
    program: "emptied beside a fault",
    start: |cpu| {
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("madvise DONTNEED", |cpu| {
            cpu.dont_need(X, 1);
        }),
        actor("fault", |cpu| {
            cpu.store(Y, 2);
        }),
    ],
    ..Scenario::DEFAULT
};

/// A CPU becomes a target of flushes while another flushes.
pub(crate) const SWITCH_BESIDE_FLUSH: Scenario = Scenario {
    program: "a switch beside a flush",
    runs: |mode| !mode.is_broadcast(),
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.switch_away();
    },
    actors: &[
        actor("switch", |cpu| {
            cpu.switch_to(Process(0));
            cpu.load(X);
        }),
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};

/// A huge page that was stored to.
pub(crate) fn huge_page(cpu: &Cpu<'_>) {
    cpu.use_huge_pages();
    cpu.map(X, LEAF, Prot::ReadWrite);
    cpu.store(X, 1);
}

/// The same, as processors know it not: its entry is clean, and they have no translation.
pub(crate) fn unnoted_huge_page(cpu: &Cpu<'_>) {
    huge_page(cpu);
    cpu.forget_use(X);
}

/// Where a huge page is before it moves to [`X`].
pub(crate) const OLD: At = At(2, 0);

/// A huge page of shared memory there, which was stored to.
pub(crate) fn shared_huge_page(cpu: &Cpu<'_>) {
    cpu.use_huge_shared_memory(4);
    cpu.map_file(OLD, LEAF, Prot::ReadWrite, 0);
    cpu.store(OLD, 1);
}

/// A thread moves it.
pub(crate) fn move_huge_page(cpu: &Cpu<'_>) {
    cpu.remap(OLD, LEAF, X);
}

/// A small page of shared memory where a huge one could be, which was stored to. The process runs nowhere: no flush
/// goes to who uses it later.
pub(crate) fn shared_page_to_collapse(cpu: &Cpu<'_>) {
    cpu.use_shared_memory(4);
    cpu.map_file(X, LEAF, Prot::ReadWrite, 0);
    cpu.store(X, 1);
    cpu.switch_away();
}

/// A thread takes the right to store from a page of the huge page at [`X`], so that it becomes small ones.
pub(crate) fn protect_part(cpu: &Cpu<'_>) {
    cpu.protect(At(0, 2), 1, Prot::Read);
}

/// Slot of the note: the process that was forked.
pub(crate) const CHILD: usize = 0;

/// A thread forks.
pub(crate) fn fork_noted(cpu: &Cpu<'_>) {
    if let Some(Process(child)) = cpu.fork() {
        cpu.note(CHILD, child as u64);
    }
}

/// The child of [`fork_noted`] has what was stored second, which was 2, only if it has `before`, which was stored
/// first.
pub(crate) fn is_one_moment(cpu: &Cpu<'_>, [first, second]: [At; 2], before: u64) {
    cpu.switch_to(Process(cpu.noted(CHILD) as usize));
    let (first, second) = (cpu.load(first), cpu.load(second));
    cpu.expect(second != Some(2) || first == Some(before), "I-COW", "the child has the second store and not the first");
}

/// A thread loads in the parent, then stores in the child to what seems to be the child's alone, and loads in the
/// parent again.
pub(crate) fn load_around_store_of_child(cpu: &Cpu<'_>) {
    cpu.load(X);
    cpu.switch_to(Process(1));
    cpu.store(X, 2);
    cpu.switch_to(Process(0));
    cpu.load(X);
}

/// Two pages, at places which threads that run nowhere yet are going to move between.
pub(crate) fn two_pages(cpu: &Cpu<'_>, places: [At; 2]) {
    for (at, value) in places.into_iter().zip(1..) {
        cpu.map(at, 1, Prot::ReadWrite);
        cpu.store(at, value);
    }
    cpu.switch_away();
}

/// A thread moves a page; what it runs in has no part in it.
pub(crate) fn move_page(cpu: &Cpu<'_>, from: At, to: At) {
    cpu.switch_away();
    cpu.remap(from, 1, to);
}

/// The two pages of [`two_pages`] are at their new places.
pub(crate) fn have_come(cpu: &Cpu<'_>, places: [At; 2]) {
    cpu.switch_to(Process(0));
    let loaded = places.map(|at| cpu.load(at));
    cpu.expect_if_done(loaded == [Some(1), Some(2)], "I-LOST", "a page has not come where it was moved to");
}

/// Pages from which a right is taken away, up to one that moves down from far: four leaves of four, and one.
const BETWEEN: u64 = 17;
/// Slot of the note: the right was taken away.
const PROTECTED: usize = 0;

/// A page at the end of pages from which a right is going to be taken away, and one in the leaf to which it is to move.
pub(crate) fn move_beside_protect(cpu: &Cpu<'_>, neighbour: At, between: At, old: At) {
    cpu.map(neighbour, 1, Prot::ReadWrite);
    cpu.map(between, BETWEEN, Prot::ReadWrite);
    cpu.store(old, 1);
    cpu.switch_away();
}

/// A thread takes the right away.
pub(crate) fn protect_between(cpu: &Cpu<'_>, between: At) {
    cpu.switch_away();
    if cpu.protect(between, BETWEEN, Prot::Read) {
        cpu.note(PROTECTED, 1);
    }
}

/// It is gone, wherever the page is now.
pub(crate) fn is_protected(cpu: &Cpu<'_>, new: At) {
    cpu.switch_to(Process(0));
    let stored = cpu.store(new, 2);
    cpu.expect(cpu.noted(PROTECTED) == 0 || !stored, "I-VMA", "a store after mprotect took the right away");
}

/// A huge page that was stored to, and somewhere for it to go.
pub(crate) fn huge_page_and_swap(cpu: &Cpu<'_>) {
    cpu.use_huge_pages();
    cpu.map(X, LEAF, Prot::ReadWrite);
    cpu.store(Y, 1);
    cpu.swap_on(8);
}

/// All of it is put out, on a toy processor.
pub(crate) fn put_out_huge_page(cpu: &Cpu<'_>) {
    cpu.page_out(X, 4);
}
