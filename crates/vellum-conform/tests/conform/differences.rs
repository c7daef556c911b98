//! The table of differences: each row that sequences end at can be shown.

use crate::linux;
use crate::lockstep::{AT, PAGE, map, ops};
use vellum_conform::abi::*;
use vellum_conform::arena;
use vellum_conform::compare::{self, Ending, Settings};
use vellum_conform::op::Call;
use vellum_conform::{DIFFERENCES, Stats};

const ANONYMOUS: u64 = MAP_PRIVATE | MAP_ANONYMOUS;

/// The row at which both sides differ.
#[track_caller]
fn row_of(calls: &[(u8, Call)]) -> Option<&'static str> {
    let mut linux = linux()?;
    match compare::run(&mut linux, &ops(calls), &Settings::default().exact(), &mut Stats::default()).unwrap() {
        Ending::Meant(row) => Some(DIFFERENCES[row].id),
        other => panic!("{other:?}"),
    }
}

fn remap(address: u64, length: u64, new_length: u64, flags: u64, new_address: u64) -> Call {
    Call::Remap { address, length, new_length, flags, new_address }
}

/// `row` is what `calls` show, if there is a Linux to compare with.
#[track_caller]
fn shows(row: &str, calls: &[(u8, Call)]) {
    assert!(row_of(calls).is_none_or(|found| found == row));
}

/// The child's pages have the parent's origin, but for the one it has mapped anew.
#[test]
fn neighbours_are_joined_or_not() {
    shows(
        "joined-neighbours",
        &[
            (0, map(AT, 8, ANONYMOUS, -1)),
            (0, Call::Store { address: AT, value: 1 }),
            (0, Call::Fork),
            (1, map(AT + PAGE, 1, ANONYMOUS, -1)),
            (1, remap(AT, 3 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, AT - 8 * PAGE)),
        ],
    );
}

#[test]
fn stacks_that_meet_are_joined_or_not() {
    let stack = arena::page(arena::STACK);
    shows(
        "joined-neighbours",
        &[
            (0, map(stack, 1, ANONYMOUS | MAP_GROWSDOWN, -1)),
            (0, Call::Load { address: stack - 10 * PAGE }),
            (0, Call::Unmap { address: stack - 9 * PAGE, length: PAGE }),
            (0, Call::Load { address: stack - 9 * PAGE }),
            (0, Call::Store { address: stack - 256 * PAGE, value: 1 }),
        ],
    );
}

#[test]
fn the_last_addresses_are_errors() {
    let mapping = map(u64::MAX - 10, 1, ANONYMOUS, -1);
    shows("last-addresses", &[(0, mapping)]);
}

#[test]
fn moves_that_fail_are_half_done() {
    let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    let shared = map(AT, 1, MAP_SHARED | MAP_ANONYMOUS, -1);
    shows("half-done-moves", &[(0, shared), (0, remap(AT, 0, PAGE, flags, AT))]);
    let (old, new) = (map(AT, 1, ANONYMOUS, -1), map(AT + 8 * PAGE, 1, ANONYMOUS, -1));
    shows(
        "half-done-moves",
        &[(0, old), (0, new), (0, remap(AT, 0u64.wrapping_sub(PAGE), PAGE, flags, AT + 8 * PAGE))],
    );
    shows("half-done-moves", &[(0, map(AT, 2, ANONYMOUS, -1)), (0, remap(AT, 2 * PAGE, PAGE, flags, 0))]);
}

#[test]
fn offsets_end() {
    let Call::Map { address, length, prot, flags, file, .. } = map(AT, 1, MAP_SHARED, 1) else { unreachable!() };
    let mapping = Call::Map { address, length, prot, flags, file, offset: (1 << 63) - 2 * PAGE };
    shows("end-of-offsets", &[(0, mapping), (0, remap(AT, PAGE, 4 * PAGE, MREMAP_MAYMOVE, 0))]);
}

/// On a file system whose files are not that large.
#[test]
fn nothing_is_removed_beyond_the_largest_file() {
    let Some(mut linux) = linux() else { return };
    let Call::Map { address, length, prot, flags, file, .. } = map(AT, 1, MAP_SHARED, 1) else { unreachable!() };
    let mapping = Call::Map { address, length, prot, flags, file, offset: 1 << 62 };
    let removal = Call::Advise { address: AT, length: PAGE, advice: MADV_REMOVE };
    let ops = ops(&[(0, mapping), (0, removal)]);
    match compare::run(&mut linux, &ops, &Settings::default().exact(), &mut Stats::default()).unwrap() {
        Ending::Same => {}
        Ending::Meant(row) => assert_eq!(DIFFERENCES[row].id, "largest-file"),
        other => panic!("{other:?}"),
    }
}

/// Before 6.17.
#[test]
fn several_mappings_move_at_once() {
    if linux().is_none_or(|linux| linux.version() >= (6, 17)) {
        return;
    }
    let (first, second) = (map(AT, 1, ANONYMOUS, -1), map(AT + PAGE, 1, MAP_SHARED, 0));
    let to = AT - 8 * PAGE;
    shows(
        "several-moved",
        &[(0, first), (0, second), (0, remap(AT, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to))],
    );
}
