//! Both sides agree.

use crate::linux;
use std::time::Duration;
use vellum_conform::abi::*;
use vellum_conform::arena;
use vellum_conform::compare::{self, Ending, Settings};
use vellum_conform::op::{Call, Op};
use vellum_conform::{Campaign, Limits, Stats, Stop};

#[test]
fn random_sequences_agree() {
    let Some(mut linux) = linux() else { return };
    let limits = Limits { time: Some(Duration::from_secs(10)), operations: None };
    let campaign = Campaign { seed: 1_000_000, limits, has_pressure: true, settings: Settings::default() };
    let mut stats = Stats::default();
    match campaign.run(&mut linux, &mut stats, &mut |_| ()) {
        Ok(()) => println!("{stats:?}"),
        Err(Stop::Found(found)) => panic!("{found}"),
        Err(Stop::Linux(error)) => panic!("{error}"),
    }
    assert!(stats.sequences > 50 && stats.loads() > 100 && stats.sums > 1000, "{stats:?}");
    assert!(stats.pressed > 0 && stats.pressed_sequences > 20, "{stats:?}");
    // What is meant must stay rare: it hides what comes after it.
    let meant: u64 = stats.meant.iter().sum();
    assert!(meant <= 2 + stats.sequences / 25, "{meant} of {stats:?}");
}

/// A page in the midst of the pool.
pub const AT: u64 = arena::page(510);
/// Bytes of a page.
pub const PAGE: u64 = arena::PAGE;

/// Operations without pressure: each with the process that does it.
pub fn ops(calls: &[(u8, Call)]) -> Vec<Op> {
    calls.iter().map(|&(process, call)| Op { process, call, pressure: 0 }).collect()
}

/// A mapping at a fixed address, to be loaded from and stored to.
pub fn map(address: u64, pages: u64, flags: u64, file: i32) -> Call {
    let (length, prot) = (pages * PAGE, PROT_READ | PROT_WRITE);
    Call::Map { address, length, prot, flags: flags | MAP_FIXED, file, offset: 0 }
}

#[track_caller]
fn agree(calls: &[(u8, Call)]) -> Stats {
    let Some(mut linux) = linux() else { return Stats::default() };
    let settings = Settings::default().exact();
    let mut stats = Stats::default();
    match compare::run(&mut linux, &ops(calls), &settings, &mut stats).unwrap() {
        Ending::Same => stats,
        other => panic!("{other:?}"),
    }
}

/// Each kind of call, with processes and files.
#[test]
fn a_sequence_of_everything_agrees() {
    let (anonymous, shared) = (MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED);
    agree(&[
        (0, map(AT, 4, anonymous, -1)),
        (0, map(AT + 8 * PAGE, 3, shared, 0)),
        (0, map(AT + 12 * PAGE, 2, MAP_PRIVATE, 1)),
        (0, Call::Store { address: AT, value: 7 }),
        (0, Call::Store { address: AT + 8 * PAGE, value: 8 }),
        (0, Call::Fork),
        (1, Call::Store { address: AT, value: 9 }),
        (1, Call::Store { address: AT + 8 * PAGE + 8, value: 10 }),
        (0, Call::Load { address: AT }),
        (0, Call::Load { address: AT + 8 * PAGE + 8 }),
        (1, Call::Protect { address: AT, length: PAGE, prot: PROT_READ }),
        (1, Call::Store { address: AT, value: 11 }),
        (1, Call::Advise { address: AT, length: PAGE, advice: MADV_DONTNEED }),
        (1, Call::Load { address: AT }),
        (1, Call::Exit),
        (0, Call::Truncate { file: 0, length: PAGE }),
        (0, Call::Load { address: AT + 9 * PAGE }),
        (0, Call::Brk { end: arena::page(arena::HEAP + 2) }),
        (0, Call::Residency { address: AT, length: 2 * PAGE }),
        (0, Call::Unmap { address: AT, length: 4 * PAGE }),
        (0, Call::Load { address: AT }),
    ]);
}

/// What makes no sense when it comes is left out: processes that are not there, more of them than there may be.
#[test]
fn processes_come_and_go() {
    let mut calls = vec![(0, map(AT, 1, MAP_SHARED | MAP_ANONYMOUS, -1))];
    for process in 0..12u8 {
        calls.push((process, Call::Fork));
        calls.push((process, Call::Store { address: AT + 8 * u64::from(process), value: process.into() }));
        if process % 3 == 2 {
            calls.push((process, Call::Exit));
        }
    }
    agree(&calls);
    agree(&[(0, Call::Exit), (3, Call::Load { address: AT })]);
}

/// Lengths of files within a page; a store behind the end.
#[test]
fn files_end_within_pages() {
    agree(&[
        (0, map(AT, 5, MAP_SHARED, 1)),
        (0, Call::Store { address: AT + 3 * PAGE + 0x800, value: 5 }),
        (0, Call::Truncate { file: 1, length: 3 * PAGE + 0x804 }),
        (0, Call::Load { address: AT + 3 * PAGE + 0x800 }),
        (0, Call::Truncate { file: 1, length: 5 * PAGE }),
        (0, Call::Load { address: AT + 4 * PAGE }),
        (0, Call::Truncate { file: 1, length: 0x10 }),
        (0, Call::Load { address: AT + PAGE }),
    ]);
}

/// What is cut off leaves the address space: that comes after what is to stay.
#[test]
fn what_stays_is_looked_at_before_what_is_cut_off() {
    let (flags, new_address) = (MREMAP_MAYMOVE | MREMAP_FIXED, AT + 8 * PAGE);
    let remap = |length, pages| Call::Remap { address: AT, length, new_length: pages * PAGE, flags, new_address };
    for length in [1 << 63, 0u64.wrapping_sub(PAGE), 1 << 47] {
        for pages in 1..4 {
            agree(&[(0, map(AT, 2, MAP_PRIVATE | MAP_ANONYMOUS, -1)), (0, remap(length, pages))]);
        }
    }
}
