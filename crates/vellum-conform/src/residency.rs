//! Which pages `mincore` must find, and which it must not: of private anonymous mappings, where nothing is read ahead.
//! A page that was stored to and not given up is in memory, one that nobody has touched is not; whatever makes that
//! unsure makes the page unknown here. (What was loaded is the zero page, which a child of Linux does not get.)

use crate::abi::*;
use crate::arena::{self, PAGE};
use crate::op::{Call, Outcome, PROCESSES};
use std::collections::BTreeMap;
use std::ops::Range;

/// What was done with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    /// Nothing.
    Untouched,
    /// It was loaded from, or that was tried.
    Seen,
    /// It was stored to.
    Stored,
}

/// By process: what is known, by the pages' addresses.
#[derive(Debug, Default)]
pub struct Residency {
    processes: [BTreeMap<u64, Page>; PROCESSES],
    /// Whether Vellum may have taken pages back.
    pub was_pressed: bool,
    /// Whether Vellum may have huge pages, or folios of several: then what was never touched may be in memory there.
    has_huge: bool,
}

impl Residency {
    /// Nothing is known; Vellum may have huge pages, or folios of several, or has none.
    pub fn new(has_huge: bool) -> Residency {
        Residency { has_huge, ..Residency::default() }
    }

    /// Compares what both sides have found in a range, one bit a page. What is wrong.
    pub fn check(&self, process: usize, range: Range<u64>, (linux, ours): (u64, u64)) -> Option<String> {
        range.step_by(PAGE as usize).take(64).enumerate().find_map(|(index, at)| {
            let bit = match self.processes[process].get(&at)? {
                Page::Untouched => 0,
                Page::Seen => return None,
                Page::Stored => 1,
            };
            let (linux, ours) = (linux >> index & 1, ours >> index & 1);
            let is_right = linux == bit && (ours == bit || if bit == 1 { self.was_pressed } else { self.has_huge });
            let (at, said) = (arena::name(at), if bit == 1 { "was stored to" } else { "was never touched" });
            (!is_right).then(|| format!("{at} {said}: Linux finds {linux} page of it, Vellum {ours}"))
        })
    }

    /// Notes that all mapped pages of a process were loaded from.
    pub fn see_all(&mut self, process: usize) {
        self.processes[process].values_mut().for_each(see);
    }

    /// Notes what came of a call in Linux.
    pub fn note(&mut self, process: usize, child: usize, call: &Call, outcome: Outcome) {
        let pages = &mut self.processes[process];
        let value = match outcome {
            Outcome::Value(value) => Some(value),
            _ => None,
        };
        match *call {
            Call::Map { address, length, flags, .. } => {
                let start = value.unwrap_or(address);
                forget(pages, start, length);
                let is_private = flags & MAP_SHARED_VALIDATE == MAP_PRIVATE && flags & MAP_ANONYMOUS != 0;
                if value.is_some() && is_private && flags & (MAP_POPULATE | MAP_LOCKED) == 0 {
                    let addresses = range(start, length).step_by(PAGE as usize);
                    pages.extend(addresses.map(|at| (at, Page::Untouched)));
                }
            }
            Call::Unmap { address, length } => forget(pages, address, length),
            Call::Remap { address, length, new_length, new_address, .. } => {
                let kept: Vec<_> =
                    pages.range(range(address, length.min(new_length))).map(|(&at, &page)| (at, page)).collect();
                forget(pages, address, length);
                forget(pages, value.unwrap_or(new_address), new_length);
                if let Some(to) = value {
                    pages.extend(kept.into_iter().map(|(at, page)| (at - address + to, page)));
                }
            }
            Call::Advise { address, length, advice } => advise(pages, range(address, length), advice, value.is_some()),
            // What lies in the way of a heap that becomes smaller goes with it.
            Call::Brk { .. } => {
                let heap = arena::page(arena::HEAP);
                forget(pages, heap, arena::page(arena::STACK) - arena::STACK_LIMIT - heap);
            }
            Call::Load { address } | Call::Write { address } => {
                pages.range_mut(range(address, 8)).for_each(|(_, page)| see(page));
            }
            Call::Store { address, .. } | Call::Read { address, .. } => {
                let is_stored = value.is_some();
                let store = |page: &mut Page| if is_stored { *page = Page::Stored } else { see(page) };
                pages.range_mut(range(address, 8)).for_each(|(_, page)| store(page));
            }
            Call::Fork => self.processes[child] = pages.clone(),
            Call::Exit => pages.clear(),
            Call::Protect { .. } | Call::Residency { .. } | Call::Sync { .. } | Call::Truncate { .. } => {}
        }
    }
}

fn advise(pages: &mut BTreeMap<u64, Page>, range: Range<u64>, advice: u64, is_done: bool) {
    match advice {
        MADV_NORMAL | MADV_SEQUENTIAL | MADV_RANDOM | MADV_WILLNEED | MADV_COLD => {}
        MADV_DONTDUMP | MADV_DODUMP | MADV_KEEPONFORK | MADV_DOFORK => {}
        MADV_GUARD_REMOVE if is_done => {}
        MADV_DONTNEED | MADV_GUARD_INSTALL if is_done => {
            pages.range_mut(range).for_each(|(_, page)| *page = Page::Untouched);
        }
        MADV_POPULATE_READ => pages.range_mut(range).for_each(|(_, page)| see(page)),
        MADV_POPULATE_WRITE if is_done => pages.range_mut(range).for_each(|(_, page)| *page = Page::Stored),
        // Given up, or not; or children do not get it as it is.
        _ => pages.retain(|at, _| !range.contains(at)),
    }
}

fn see(page: &mut Page) {
    if *page == Page::Untouched {
        *page = Page::Seen;
    }
}

/// The pages that a range touches.
fn range(start: u64, length: u64) -> Range<u64> {
    let first = start & !(PAGE - 1);
    first..start.saturating_add(length).max(first)
}

fn forget(pages: &mut BTreeMap<u64, Page>, start: u64, length: u64) {
    let range = range(start, length);
    pages.retain(|at, _| !range.contains(at));
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = arena::page(510);
    const DONE: Outcome = Outcome::Value(0);

    fn known() -> Residency {
        let mut known = Residency::default();
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        let map = Call::Map { address: AT, length: 3 * PAGE, prot: 3, flags, file: -1, offset: 0 };
        known.note(0, 0, &map, Outcome::Value(AT));
        known.note(0, 0, &Call::Store { address: AT, value: 1 }, DONE);
        known.note(0, 0, &Call::Load { address: AT + PAGE }, DONE);
        known
    }

    #[test]
    fn stored_pages_are_there_and_untouched_ones_are_not() {
        let mut known = known();
        let all = AT..AT + 3 * PAGE;
        // What was loaded may be there or not.
        assert_eq!(known.check(0, all.clone(), (0b001, 0b011)), None);
        assert!(known.check(0, all.clone(), (0b001, 0b000)).unwrap().contains("was stored to"));
        assert!(known.check(0, all.clone(), (0b000, 0b001)).is_some());
        assert!(known.check(0, all.clone(), (0b001, 0b101)).unwrap().contains("was never touched"));
        known.was_pressed = true;
        assert_eq!(known.check(0, all.clone(), (0b001, 0b000)), None);
        assert!(known.check(0, all.clone(), (0b001, 0b101)).is_some());
        known.has_huge = true;
        assert_eq!(known.check(0, all.clone(), (0b001, 0b101)), None);
        assert!(known.check(0, all, (0b101, 0b101)).is_some());
    }

    #[test]
    fn pages_go_with_what_is_done_to_them() {
        let mut known = known();
        known.note(0, 1, &Call::Fork, DONE);
        let (flags, new_address) = (MREMAP_MAYMOVE | MREMAP_FIXED, AT + 8 * PAGE);
        let length = PAGE;
        let remap = Call::Remap { address: AT, length, new_length: length, flags, new_address };
        known.note(0, 0, &remap, Outcome::Value(new_address));
        assert!(known.check(0, new_address..new_address + PAGE, (1, 0)).is_some());
        assert_eq!(known.check(0, AT..AT + PAGE, (0, 1)), None);
        assert!(known.check(1, AT..AT + PAGE, (1, 0)).is_some());
        known.note(1, 0, &Call::Advise { address: AT, length, advice: MADV_DONTNEED }, DONE);
        assert!(known.check(1, AT..AT + PAGE, (0, 1)).is_some());
        known.note(1, 0, &Call::Advise { address: AT, length, advice: MADV_PAGEOUT }, DONE);
        assert_eq!(known.check(1, AT..AT + PAGE, (0, 1)), None);
    }
}
