//! `vellum bench growth`: what grows with the number of something, counted over a range of it.
//!
//! Nothing is timed. Places, steps and frames are what the core itself counts; instructions are callgrind's affair.

use super::jobs::{BenchSpace, BenchVm, PAGE_BYTES, mapped};
use super::machine::BenchMachine;
use serde::Serialize;
use vellum::arch::Prot;
use vellum::ops::{Access, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use vellum::{Event, Space, Vm};

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
];

fn boot() -> BenchVm<false> {
    Vm::new(BenchMachine::new(FRAMES)).expect("the machine is large enough")
}

/// Counters whose names are given, as they stand.
fn counters<const N: usize>(vm: &BenchVm<false>, events: [Event; N]) -> [u64; N] {
    events.map(|event| vm.totals().get(event))
}

/// Moves pages of `space` to the other node, a range at a time, all of which are found; the steps of the walks and the places
/// that these look at, for each of so many mappings. Each page is walked to twice: to unmap it and to map it at its new frame.
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
    let vm = boot();
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

/// `count` forks, each of the youngest or all of the first, of a space with 1,000 mappings of which 100 were moved; then the
/// pages of these and of 100 others are migrated, which all spaces have.
fn relatives(count: u64, is_chain: bool) -> Vec<(&'static str, f64)> {
    const MAPPINGS: u64 = 1_000;
    const MOVED: u64 = 100;
    let vm = boot();
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
    let vm = boot();
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
    use super::{Measure, generations, relatives, spaces_of_files};

    /// None of the figures grows with the number of what it is counted over.
    #[test]
    fn nothing_grows() {
        let measures: [(Measure, [u64; 2]); 4] = [
            (generations, [100, 2_000]),
            (|count| relatives(count, true), [10, 50]),
            (|count| relatives(count, false), [10, 50]),
            (spaces_of_files, [50, 400]),
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
