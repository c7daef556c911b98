//! `vellum bench growth`: what grows with the number of something, counted over a range of it.
//!
//! Nothing is timed. Places, steps and frames are what the core itself counts, words read are counted where it reads
//! them; instructions are callgrind's affair.

use super::jobs::{BenchSpace, BenchVm, PAGE_BYTES, mapped};
use super::machine::BenchMachine;
use super::record::loads_during;
use serde::Serialize;
use vellum::arch::Prot;
use vellum::ops::{Access, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use vellum::{Event, Overcommit, Space, Vm};

/// Pages that are migrated.
const PAGES: u64 = 64;
/// Frames of the machine: 2 GiB.
const FRAMES: usize = 1 << 19;
/// Files that each space shows.
const FILES: u64 = 20;

/// One figure for several sizes.
#[derive(Serialize)]
pub struct Growth {
    /// What grows.
    of: &'static str,
    /// What is counted.
    counted: &'static str,
    /// By size.
    figures: Vec<(u64, f64)>,
}

/// What is measured for each size: some figures, by name.
type Measure = fn(u64) -> Vec<(&'static str, f64)>;

const MEASURES: &[(&str, &[u64], Measure)] = &[
    ("generations that have ended", &[100, 1_000, 10_000, 100_000], generations),
    ("a chain of spaces that live", &[10, 100, 1_000], |size| relatives(size, true)),
    ("a star of spaces that live", &[10, 100, 1_000], |size| relatives(size, false)),
    ("spaces that show 20 files", &[125, 500, 2_000, 8_000], spaces_of_files),
    ("leaves between old and new", &[100, 1_000, 10_000, 100_000], leaves_between),
    ("mappings above a small hole", &[100, 1_000, 10_000, 100_000], mappings_above),
];

fn boot<const R: bool>() -> BenchVm<R> {
    Vm::new(BenchMachine::new(FRAMES)).expect("the machine is large enough")
}

/// Counters whose names are given, as they stand.
fn counters<const N: usize>(vm: &BenchVm<false>, events: [Event; N]) -> [u64; N] {
    events.map(|event| vm.totals().get(event))
}

/// Moves pages of `space` to the other node, a range at a time, all of which are found; the steps of the walks and the
/// places that these look at, for each of so many mappings. Each page is walked to twice: to unmap it and to map it at
/// its new frame.
fn moved(space: &BenchSpace<'_, false>, ranges: &[(u64, u64)], mappings: u64) -> Vec<(&'static str, f64)> {
    let vm = space.vm();
    let before = counters(vm, [Event::RmapStep, Event::RmapLook]);
    for &(address, pages) in ranges {
        let moved = space.move_pages(address, pages * PAGE_BYTES, 1).expect("there is such a node");
        assert_eq!(moved, (pages, 0), "all pages move");
    }
    let after = counters(vm, [Event::RmapStep, Event::RmapLook]);
    let of = |index: usize| (after[index] - before[index]) as f64 / (2 * mappings) as f64;
    vec![("steps a mapping found", of(0)), ("places a mapping found", of(1))]
}

/// `s = s.fork()`, each generation storing to a page.
fn generations(count: u64) -> Vec<(&'static str, f64)> {
    let vm = boot::<false>();
    let mut space = vm.create_space().expect("memory");
    let address = mapped(&space, PAGES, true);
    for generation in 0..count {
        let at = address + generation % PAGES * PAGE_BYTES;
        space.fault(at, Access::Write).expect("memory");
        space = space.fork().expect("memory");
    }
    vm.quiesce();
    let mut figures = vec![("slab frames", vm.usage().slab as f64)];
    figures.extend(moved(&space, &[(address, PAGES)], PAGES));
    figures
}

/// `count` forks, each of the youngest or all of the first, of a space with 1,000 mappings of which 100 were moved;
/// then the pages of these and of 100 others are migrated, which all spaces have.
fn relatives(count: u64, is_chain: bool) -> Vec<(&'static str, f64)> {
    const MAPPINGS: u64 = 1_000;
    const MOVED: u64 = 100;
    let vm = boot::<false>();
    let mut spaces = vec![vm.create_space().expect("memory")];
    let (from, to) = (1 << 30, 2 << 30);
    // A page between two of them: each is one mapping, and is moved by a distance of its own.
    for number in 0..MAPPINGS {
        let at = from + 2 * number * PAGE_BYTES;
        let request = MapRequest::anonymous(PAGE_BYTES, Prot::READ_WRITE).at(Place::Fixed(at));
        spaces[0].map(&request).expect("room");
        spaces[0].fault(at, Access::Write).expect("memory");
    }
    for number in 0..MOVED {
        let (old, new) = (from + 2 * number * PAGE_BYTES, to + 3 * number * PAGE_BYTES);
        let place = RemapPlace::Fixed(new);
        let request = RemapRequest { old, old_length: PAGE_BYTES, new_length: PAGE_BYTES, place, keep_old: false };
        spaces[0].remap(&request).expect("room");
    }
    for _ in 0..count {
        let parent = if is_chain { spaces.last() } else { spaces.first() };
        let child = parent.map(Space::fork);
        spaces.push(child.expect("there is one").expect("memory"));
    }
    let ranges = (0..MOVED).flat_map(|number| {
        [to + 3 * number * PAGE_BYTES, from + 2 * (MOVED + number) * PAGE_BYTES].map(|address| (address, 1))
    });
    moved(&spaces[0], &ranges.collect::<Vec<_>>(), 2 * MOVED * (count + 1))
}

/// `count` spaces that show the same files.
fn spaces_of_files(count: u64) -> Vec<(&'static str, f64)> {
    let vm = boot::<false>();
    let files: Vec<_> = (0..FILES).map(|_| vm.shared_memory(1).expect("memory")).collect();
    let show = |space: &BenchSpace<'_, false>| {
        for (file, number) in files.iter().zip(1..) {
            let request = MapRequest::object(file, 0, Sharing::Shared, PAGE_BYTES, Prot::READ);
            space.map(&request.at(Place::Fixed(number << 16))).expect("room");
        }
    };
    let spaces: Vec<_> = (0..count).map(|_| vm.create_space().expect("memory")).collect();
    spaces.iter().for_each(&show);
    let space = vm.create_space().expect("memory");
    let before = counters(&vm, [Event::ClassStep]);
    show(&space);
    let mapped = counters(&vm, [Event::ClassStep]);
    drop(space);
    let ended = counters(&vm, [Event::ClassStep]);
    let of = |from: [u64; 1], to: [u64; 1]| (to[0] - from[0]) as f64 / FILES as f64;
    vec![("records looked at a map", of(before, mapped)), ("records looked at an unmap", of(mapped, ended))]
}

/// Four pages move from below `count` leaves, with a page in each, to above them, and back.
fn leaves_between(count: u64) -> Vec<(&'static str, f64)> {
    const LEAF: u64 = 512 * PAGE_BYTES;
    const LENGTH: u64 = 4 * PAGE_BYTES;
    let vm = boot::<true>();
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("memory");
    let (below, between) = (1 << 40, (1 << 40) + (1 << 30));
    let above = (between + count * LEAF).next_multiple_of(1 << 30) + (1 << 30);
    let map = |address, length| {
        let request = MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(address));
        space.map(&request).expect("room");
    };
    map(between, count * LEAF);
    (0..count).for_each(|leaf| _ = space.fault(between + leaf * LEAF, Access::Write).expect("memory"));
    map(below, LENGTH);
    space.populate(below, LENGTH, Access::Write).expect("memory");
    let moved = |old, new| {
        let place = RemapPlace::Fixed(new);
        let request = RemapRequest { old, old_length: LENGTH, new_length: LENGTH, place, keep_old: false };
        loads_during(|| _ = space.remap(&request).expect("memory"))
    };
    moved(below, above);
    moved(above, below);
    let loads = moved(below, above) + moved(above, below);
    vec![("words read a mremap of 4 pages", loads as f64 / 2.0)]
}

/// Of `count` mappings of a page, side by side, one at the low end goes, again and again, and more is mapped than fits
/// there.
fn mappings_above(count: u64) -> Vec<(&'static str, f64)> {
    const ROUNDS: u64 = 32;
    let vm = boot::<true>();
    let space = vm.create_space().expect("memory");
    let map = |pages, prot| space.map(&MapRequest::anonymous(pages * PAGE_BYTES, prot)).expect("room");
    // Neighbours of equal rights would be one mapping.
    let prots = [Prot::READ, Prot::READ_WRITE];
    let low = map(1, prots[0]);
    (1..count).for_each(|number| _ = map(1, prots[number as usize % 2]));
    let unmap = |page| space.unmap(low + page * PAGE_BYTES, PAGE_BYTES).expect("it is mapped");
    let measured = |operation: &dyn Fn(u64)| {
        let sum: u64 = (0..ROUNDS).map(|round| loads_during(|| operation(round))).sum();
        sum as f64 / ROUNDS as f64
    };
    unmap(0);
    let first = loads_during(|| _ = map(2, Prot::READ)) as f64;
    let filled = measured(&|_| {
        unmap(1);
        map(1, Prot::READ_WRITE);
        map(1, Prot::READ_WRITE);
    });
    let larger = measured(&|round| {
        unmap(2 + 2 * round % 90);
        map(2, Prot::READ);
    });
    vec![
        ("words read by the first map", first),
        ("words read unmap 1, map 1, 1", filled),
        ("words read unmap 1, map 2", larger),
    ]
}

/// All figures.
pub fn all() -> Vec<Growth> {
    let mut all: Vec<Growth> = Vec::new();
    for &(of, sizes, measure) in MEASURES {
        let begin = all.len();
        for &size in sizes {
            for (index, (counted, figure)) in measure(size).into_iter().enumerate() {
                if begin + index == all.len() {
                    all.push(Growth { of, counted, figures: Vec::new() });
                }
                all[begin + index].figures.push((size, figure));
            }
        }
    }
    all
}

/// A table of them.
pub fn table(all: &[Growth]) -> String {
    let mut text = String::new();
    for growth in all {
        text += &format!("{:<32}{:<28}", growth.of, growth.counted);
        for (size, figure) in &growth.figures {
            text += &format!("{:>8}:{figure:>10.1}", size);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Measure, generations, leaves_between, mappings_above, relatives, spaces_of_files};

    /// None of the figures grows with the number of what it is counted over.
    #[test]
    fn nothing_grows() {
        let measures: [(Measure, [u64; 2]); 6] = [
            (generations, [100, 2_000]),
            (|count| relatives(count, true), [10, 50]),
            (|count| relatives(count, false), [10, 50]),
            (spaces_of_files, [50, 400]),
            (leaves_between, [100, 1_000]),
            // A search that is not worth remembering goes by a thousand slots.
            (|count| mappings_above(count).split_off(1), [1_000, 10_000]),
        ];
        for (measure, [small, large]) in measures {
            for ((counted, few), (_, many)) in measure(small).into_iter().zip(measure(large)) {
                assert!(many <= 1.5 * few + 1.0, "{counted}: {few} of {small}, {many} of {large}");
            }
        }
    }

    /// A walk looks at no more than two places for each mapping that it finds.
    #[test]
    fn few_places_are_looked_at_in_vain() {
        for is_chain in [false, true] {
            let looks = relatives(30, is_chain)[1].1;
            assert!(looks <= 2.0, "{looks} places a mapping, chain {is_chain}");
        }
    }
}
