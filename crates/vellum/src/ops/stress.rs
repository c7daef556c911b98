//! Random operations on one space by several threads at once; the audit at the end is the oracle.

use crate::arch::{Arch, Prot, Tiny, X86_64};
use crate::object::Object;
use crate::ops::{Access, Advice, HugePages, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use crate::testing::{TestMachine, become_cpu};
use crate::{Space, Vm};

const THREADS: usize = 4;

/// A small generator (SplitMix64), so that a seed reproduces each thread's choices.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mix = self.0;
        mix = (mix ^ mix >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mix = (mix ^ mix >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mix ^ mix >> 31) % bound
    }
}

/// One random operation on `pages` pages from `base` on. Errors are as good as successes here.
fn step<A: Arch>(space: &Space<'_, TestMachine<A>>, random: &mut Random, base: u64, pages: u64) {
    let page = 1u64 << A::PAGE_SHIFT;
    let start = random.below(pages);
    let longest = if random.below(8) == 0 { pages } else { 4 };
    let length = (1 + random.below(longest)).min(pages - start) * page;
    let at = base + start * page;
    let prot = [Prot::READ_WRITE, Prot::READ, Prot::NONE, Prot::READ_WRITE][random.below(4) as usize];
    match random.below(18) {
        0 | 1 => ignore(space.map(&MapRequest::anonymous(length, prot).at(Place::Fixed(at)))),
        2 => ignore(space.map(&MapRequest::shared(length, prot).at(Place::Fixed(at)))),
        3 | 4 => ignore(space.unmap(at, length)),
        5 | 6 => ignore(space.protect(at, length, prot)),
        7 => ignore(space.advise(at, length, Advice::DontNeed)),
        8 => ignore(space.advise(at, length, Advice::DontFork)),
        9 => drop(space.fork()),
        10 => {
            let new = base + random.below(pages) * page;
            let place = RemapPlace::Fixed(new.min(base + pages * page - length));
            let keep_old = random.below(4) == 0;
            ignore(space.remap(&RemapRequest { old: at, old_length: length, new_length: length, place, keep_old }));
        }
        11 => ignore(space.advise(at, length, Advice::GuardInstall)),
        12 => ignore(space.advise(at, length, Advice::GuardRemove)),
        13 => {
            if let Ok(found) = space.map(&MapRequest::anonymous(length, prot)) {
                ignore(space.fault(found, Access::Write));
                space.unmap(found, length).expect("what was just mapped can be unmapped");
            }
        }
        _ => {
            let access = if random.below(3) == 0 { Access::Read } else { Access::Write };
            for here in (at..at + length).step_by(page as usize) {
                ignore(space.fault(here, access));
            }
        }
    }
}

/// One random operation on shared memory of up to `most` pages, which is mapped within `pages` pages from `base` on.
fn step_of_memory<A: Arch>(
    space: &Space<'_, TestMachine<A>>,
    memory: &Object<'_, TestMachine<A>>,
    random: &mut Random,
    (base, pages): (u64, u64),
    most: u64,
) {
    let (page, leaf) = (1u64 << A::PAGE_SHIFT, 1u64 << (A::shift(1) - A::PAGE_SHIFT));
    let start = random.below(most);
    let longest = if random.below(4) == 0 { most } else { 6 };
    let length = (1 + random.below(longest)).min(most - start);
    // Mostly as huge pages lie.
    let stray = if random.below(4) == 0 { random.below(3) } else { 0 };
    let at = base.next_multiple_of(leaf * page) + (random.below(pages / leaf) * leaf + stray) * page;
    match random.below(15) {
        14 => ignore(space.advise(at, leaf * page, Advice::Collapse)),
        // To another place that lies alike, mostly: huge pages move as wholes.
        12 | 13 => {
            let to = base.next_multiple_of(leaf * page) + random.below(pages / leaf) * leaf * page + stray * page;
            let length = (1 + random.below(2)) * leaf * page;
            let (place, keep_old) = (RemapPlace::Fixed(to), random.below(4) == 0);
            ignore(space.remap(&RemapRequest { old: at, old_length: length, new_length: length, place, keep_old }));
        }
        0..=2 => {
            let sharing = if random.below(4) == 0 { Sharing::Private } else { Sharing::Shared };
            let end = (base + pages * page).saturating_sub(at).min(most * page);
            if end > 0 {
                let request = MapRequest::object(memory, 0, sharing, end, Prot::READ_WRITE);
                ignore(space.map(&request.at(Place::Fixed(at))));
            }
        }
        3 => ignore(memory.punch(start * page, length * page)),
        4 => ignore(memory.truncate(start * page + random.below(2))),
        5 | 6 => ignore(memory.extend(most * page)),
        7 => drop(space.hold(at)),
        8 => ignore(space.vm().compact(0, 1 + A::index_bits(0) as u8)),
        9 => ignore(space.vm().reclaim(0, 4)),
        _ => ignore(space.fault(at + start * page, Access::Write)),
    }
}

fn ignore<T>(_: T) {}

/// One random operation on places of huge pages from `base` on, of which there are `count`: moves of whole ones, most
/// often.
fn move_step<A: Arch>(space: &Space<'_, TestMachine<A>>, random: &mut Random, base: u64, count: u64) {
    let (page, huge) = (1u64 << A::PAGE_SHIFT, 1u64 << A::shift(1));
    let slots = 1 + random.below(3);
    let [from, to] = [0, 1].map(|_| base + random.below(count - slots + 1) * huge);
    let (inside, length) = (from + random.below(huge / page) * page, slots * huge);
    let vm = space.vm();
    match random.below(20) {
        0..=6 => {
            let (off, keep_old) = (random.below(12) / 11 * page, random.below(6) == 0);
            let place = RemapPlace::Fixed(to + off);
            ignore(space.remap(&RemapRequest { old: from, old_length: length, new_length: length, place, keep_old }));
        }
        7 | 8 => ignore(space.map(&MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(to)))),
        9 => drop(space.fork()),
        10 => ignore(space.unmap(inside, page)),
        11 => {
            let prot = if random.below(2) == 0 { Prot::READ } else { Prot::READ_WRITE };
            ignore(space.protect(if random.below(2) == 0 { from } else { inside }, huge, prot));
        }
        12 => ignore(space.advise(from, length, Advice::Collapse)),
        13 => ignore(space.advise(if random.below(2) == 0 { from } else { inside }, page, Advice::PageOut)),
        14 => ignore(vm.reclaim(0, 8)),
        15 => ignore(vm.compact(0, A::index_bits(0) as u8)),
        _ => ignore(space.fault(inside, if random.below(4) == 0 { Access::Read } else { Access::Write })),
    }
}

/// Threads that move huge pages, beside faults, forks, and all that cuts, moves and collapses them.
fn stress_moves<A: Arch>(seed: u64, steps: u64, base: u64, count: u64) {
    let machine = TestMachine::<A>::with(&[(0x100, 60_000, 0)], &[0; THREADS]).with_compressor();
    let vm = Vm::new(machine).expect("a machine");
    vm.set_huge_pages(HugePages::Always);
    vm.set_compressed_limit(20_000);
    vm.swap_on_memory(20_000, 0).expect("an area");
    let space = vm.create_space().expect("a space");
    std::thread::scope(|scope| {
        for cpu in 0..THREADS {
            let space = &space;
            scope.spawn(move || {
                become_cpu(cpu);
                let mut random = Random(seed + cpu as u64);
                for _ in 0..steps {
                    move_step(space, &mut random, base, count);
                }
            });
        }
    });
    become_cpu(0);
    vm.audited().unwrap_or_else(|error| panic!("{} with seed {seed}: {error}", A::NAME));
    drop(space);
    vm.quiesce();
    let audit = vm.audited().unwrap_or_else(|error| panic!("{} with seed {seed}, after the end: {error}", A::NAME));
    assert_eq!((audit.spaces, audit.tables, audit.mapped_pages, audit.classes), (0, 0, 0, 0));
}

#[test]
fn threads_that_move_huge_pages() {
    for seed in 0..4 {
        stress_moves::<Tiny>(300 + 10 * seed, 600, 0x4000, 11);
    }
    stress_moves::<X86_64>(400, 300, (1 << 39) - (6 << 21), 12);
}

fn stress<A: Arch>(seed: u64, steps: u64, base: u64, pages: u64, huge_pages: HugePages) {
    stress_of::<A>(seed, steps, (base, pages), (huge_pages, 0));
}

/// As [`stress`]; where `objects` is not 0, most of it is so much shared memory, of which each thread maps what it
/// likes, makes holes in it, makes it shorter and longer, and moves it.
fn stress_of<A: Arch>(seed: u64, steps: u64, (base, pages): (u64, u64), (huge_pages, length): (HugePages, u64)) {
    let vm = Vm::new(TestMachine::<A>::with(&[(0x100, 60_000, 0)], &[0; THREADS])).expect("a machine");
    vm.set_huge_pages(huge_pages);
    vm.set_shared_huge_pages(huge_pages);
    let memory = vm.shared_memory(length).expect("shared memory");
    let space = vm.create_space().expect("a space");
    std::thread::scope(|scope| {
        for cpu in 0..THREADS {
            let (space, memory) = (&space, &memory);
            scope.spawn(move || {
                become_cpu(cpu);
                let mut random = Random(seed + cpu as u64);
                for _ in 0..steps {
                    if length > 0 && random.below(3) > 0 {
                        step_of_memory(space, memory, &mut random, (base, pages), length);
                    } else {
                        step(space, &mut random, base, pages);
                    }
                }
            });
        }
    });
    become_cpu(0);
    vm.audited().unwrap_or_else(|error| panic!("{} with seed {seed}: {error}", A::NAME));
    drop((space, memory));
    vm.quiesce();
    let audit = vm.audited().unwrap_or_else(|error| panic!("{} with seed {seed}, after the end: {error}", A::NAME));
    assert_eq!((audit.spaces, audit.tables, audit.mapped_pages, audit.classes, audit.objects), (0, 0, 0, 0, 0));
}

#[test]
fn threads_in_one_leaf() {
    stress::<X86_64>(1, 2_000, 1 << 40, 64, HugePages::Never);
}

#[test]
fn threads_across_tables_of_three_levels() {
    // The range straddles a slot of level 2, so claims stand at different levels.
    stress::<X86_64>(2, 1_000, (1 << 39) - (700 << 12), 1_600, HugePages::Never);
}

#[test]
fn threads_in_a_tiny_space() {
    for seed in 0..4 {
        stress::<Tiny>(100 + 10 * seed, 600, 0x1000, 40, HugePages::Never);
    }
}

#[test]
fn threads_among_huge_pages_of_shared_memory() {
    stress_of::<X86_64>(4, 600, ((1 << 39) - (700 << 12), 1_600), (HugePages::Always, 1200));
    for seed in 0..4 {
        stress_of::<Tiny>(300 + 10 * seed, 600, (0x1000, 40), (HugePages::Always, 14));
    }
}

#[test]
fn threads_among_huge_pages() {
    stress::<X86_64>(3, 1_000, (1 << 39) - (700 << 12), 1_600, HugePages::Always);
    for seed in 0..4 {
        stress::<Tiny>(200 + 10 * seed, 600, 0x1000, 40, HugePages::Always);
    }
}
