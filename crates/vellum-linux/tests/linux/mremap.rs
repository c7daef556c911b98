use crate::world::*;
use vellum::Space;
use vellum_linux::mmap::*;
use vellum_linux::*;

const MOVE: u64 = MREMAP_MAYMOVE;
const FIXED: u64 = MREMAP_MAYMOVE | MREMAP_FIXED;
const KEEP: u64 = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;

/// What is set up: one read-write page and a read-only one behind it.
fn two(space: &Space<'_, M>) {
    put(space, 0, 1, RW, ANON);
    put(space, 1, 1, R, ANON);
}

fn one(space: &Space<'_, M>) {
    put(space, 0, 1, RW, ANON);
}

fn shared(space: &Space<'_, M>) {
    put(space, 0, 2, RW, SHARED);
}

/// One call in pages: what is there before, the call, its answer (a page, or `None` for any other place), what is there
/// after, in the tests' window.
type Row = (fn(&Space<'_, M>), (u64, u64, u64, u64, u64), Result<Option<u64>, Errno>, &'static str);

fn check(rows: &[Row]) {
    for (row, &(setup, (old, old_length, new_length, flags, new), expected, after)) in rows.iter().enumerate() {
        with_space(|space| {
            setup(space);
            let new = if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) != 0 && new != 0 { B + new * P } else { 0 };
            let result = mremap(space, B + old * P, old_length * P, new_length * P, flags, new);
            let page = |address| if (B..B + (1 << 40)).contains(&address) { Some((address - B) / P) } else { None };
            assert_eq!(result.map(page), expected, "row {row}");
            assert_eq!(layout(space), after, "row {row}");
        });
    }
}

/// What stays in place and does not grow needs a mapping at its beginning, and nothing more.
#[test]
fn shrinking_goes_over_mappings_and_holes() {
    check(&[
        (two, (0, 2, 1, 0, 0), Ok(Some(0)), "0-1 rw-p"),
        (one, (0, 3, 2, 0, 0), Ok(Some(0)), "0-1 rw-p"),
        (|s| (one(s), put(s, 2, 1, RW, ANON)).0, (0, 3, 1, 0, 0), Ok(Some(0)), "0-1 rw-p"),
        (two, (0, 2, 2, 0, 0), Ok(Some(0)), "0-1 rw-p, 1-2 r--p"),
        (two, (0, 2, 2, MOVE, 0), Ok(Some(0)), "0-1 rw-p, 1-2 r--p"),
        (one, (0, 2, 2, 0, 0), Ok(Some(0)), "0-1 rw-p"),
        (|s| put(s, 1, 1, RW, ANON), (0, 2, 2, 0, 0), Err(Errno::EFAULT), "1-2 rw-p"),
        (|s| put(s, 1, 1, RW, ANON), (0, 2, 1, 0, 0), Err(Errno::EFAULT), "1-2 rw-p"),
    ]);
}

/// What is made shorter on its way to a fixed place needs one mapping as far as it goes there.
#[test]
fn shrinking_to_a_fixed_place() {
    check(&[
        (two, (0, 2, 1, FIXED, 10), Ok(Some(10)), "10-11 rw-p"),
        (one, (0, 2, 1, FIXED, 10), Ok(Some(10)), "10-11 rw-p"),
        (|s| put(s, 0, 2, RW, ANON), (0, 3, 2, FIXED, 10), Ok(Some(10)), "10-12 rw-p"),
        (two, (0, 3, 2, FIXED, 10), Err(Errno::EFAULT), "0-1 rw-p, 1-2 r--p"),
        (two, (0, 2, 3, FIXED, 10), Err(Errno::EFAULT), "0-1 rw-p, 1-2 r--p"),
    ]);
}

fn with_hole(space: &Space<'_, M>) {
    put(space, 0, 1, RW, ANON);
    put(space, 3, 1, R, ANON);
}

/// Moves without a change of length go over mappings and holes, since Linux 6.17; what lies where holes go stays.
#[test]
fn several_mappings_move_as_one() {
    check(&[
        (two, (0, 2, 2, FIXED, 10), Ok(Some(10)), "10-11 rw-p, 11-12 r--p"),
        (with_hole, (0, 4, 4, FIXED, 10), Ok(Some(10)), "10-11 rw-p, 13-14 r--p"),
        (
            |s| (with_hole(s), put(s, 9, 6, 0, ANON)).0,
            (0, 4, 4, FIXED, 10),
            Ok(Some(10)),
            "9-10 ---p, 10-11 rw-p, 11-13 ---p, 13-14 r--p, 14-15 ---p",
        ),
        (
            |s| (one(s), put(s, 9, 6, 0, ANON)).0,
            (0, 4, 4, FIXED, 10),
            Ok(Some(10)),
            "9-10 ---p, 10-11 rw-p, 11-15 ---p",
        ),
        (|s| put(s, 1, 3, RW, ANON), (0, 4, 4, FIXED, 10), Err(Errno::EFAULT), "1-4 rw-p"),
        (
            with_hole,
            (0, 4, 4, FIXED | MREMAP_DONTUNMAP, 10),
            Ok(Some(10)),
            "0-1 rw-p, 3-4 r--p, 10-11 rw-p, 13-14 r--p",
        ),
        (
            |s| (shared(s), put(s, 2, 1, RW, ANON)).0,
            (1, 2, 2, FIXED, 10),
            Ok(Some(10)),
            "0-1 rw-s, 10-11 rw-s, 11-12 rw-p",
        ),
        // The old mapping stays, and no place is said: then it is one.
        (two, (0, 2, 2, KEEP, 0), Err(Errno::EFAULT), "0-1 rw-p, 1-2 r--p"),
        (one, (0, 2, 2, KEEP, 0), Err(Errno::EFAULT), "0-1 rw-p"),
        (|s| put(s, 0, 2, RW, ANON), (0, 2, 2, KEEP, 0), Ok(None), "0-2 rw-p"),
        (|s| put(s, 0, 2, RW, ANON), (0, 2, 2, KEEP, 10), Ok(Some(10)), "0-2 rw-p, 10-12 rw-p"),
        (
            |s| put(s, 0, 2, RW, ANON | MAP_GROWSDOWN),
            (0, 2, 2, KEEP | MREMAP_FIXED, 20),
            Ok(Some(20)),
            "0-2 rw-p gd, 20-22 rw-p gd",
        ),
    ]);
}

/// The pages of several mappings come along, each to its place.
#[test]
fn several_mappings_keep_their_pages() {
    with_space(|space| {
        put(space, 0, 700, RW, ANON);
        for at in [0, 1, 511, 600, 699] {
            store(space, at, at as u8).expect("memory");
        }
        mprotect(space, B + P, 2 * P, R).expect("mapped");
        munmap(space, B + 100 * P, 400 * P).expect("room");
        mprotect(space, B + 600 * P, P, R).expect("mapped");
        mremap(space, B, 700 * P, 700 * P, FIXED, B + 2001 * P).expect("mappings at the beginning");
        for at in [0, 1, 511, 600, 699] {
            assert_eq!(load(space, 2001 + at), Ok(at as u8), "page {at}");
        }
        assert_eq!(
            layout(space),
            "2001-2002 rw-p, 2002-2004 r--p, 2004-2101 rw-p, 2501-2601 rw-p, 2601-2602 r--p, 2602-2701 rw-p"
        );
    });
}

/// A move into a table above which many mappings meet: what its slot says above means nothing, and needs no room there.
#[test]
fn moving_beneath_a_table_that_is_full() {
    with_space(|space| {
        // Whole tables of different classes, so that four runs are above: this one, none, two more, and none.
        put(space, 0, 512, RW, ANON);
        put(space, 31 * 512, 512, RW, SHARED);
        put(space, 32 * 512, 512, R, ANON);
        put(space, 512 + 3, 1, R, ANON);
        put(space, 40 * 512 + 3, 1, RW, SHARED);
        let call = |old: u64, old_length: u64, new_length: u64, new: u64| {
            mremap(space, B + old * P, old_length * P, new_length * P, FIXED, B + new * P)
        };
        assert_eq!(call(40 * 512 + 3, 1, 2, 512 + 7), Ok(B + (512 + 7) * P));
        assert_eq!(call(512 + 3, 1, 1, 33 * 512 + 9), Ok(B + (33 * 512 + 9) * P));
        assert_eq!(call(512 + 7, 2, 2, 512 + 20), Ok(B + (512 + 20) * P));
    });
}

/// An old length of 0 makes a second mapping, which cannot be where the first one is.
#[test]
fn length_zero() {
    check(&[
        (one, (0, 0, 1, 0, 0), Err(Errno::EINVAL), "0-1 rw-p"),
        (one, (0, 0, 1, MOVE, 0), Err(Errno::EINVAL), "0-1 rw-p"),
        (shared, (0, 0, 1, 0, 0), Err(Errno::ENOMEM), "0-2 rw-s"),
        (shared, (0, 0, 1, MOVE, 0), Ok(None), "0-2 rw-s"),
        (shared, (0, 0, 3, FIXED, 10), Ok(Some(10)), "0-2 rw-s, 10-13 rw-s"),
        (|_| (), (0, 0, 1, MOVE, 0), Err(Errno::EFAULT), ""),
        (shared, (0, 0, 0, MOVE, 0), Err(Errno::EINVAL), "0-2 rw-s"),
    ]);
}

#[test]
fn growing() {
    check(&[
        (one, (0, 1, 2, 0, 0), Ok(Some(0)), "0-2 rw-p"),
        (|s| put(s, 0, 2, RW, ANON), (0, 1, 2, 0, 0), Err(Errno::ENOMEM), "0-2 rw-p"),
        (|s| put(s, 0, 2, RW, ANON), (0, 1, 2, MOVE, 0), Ok(None), "1-2 rw-p"),
        (two, (0, 1, 2, 0, 0), Err(Errno::ENOMEM), "0-1 rw-p, 1-2 r--p"),
        (two, (0, 1, 2, MOVE, 0), Ok(None), "1-2 r--p"),
        (two, (0, 2, 3, MOVE, 0), Err(Errno::EFAULT), "0-1 rw-p, 1-2 r--p"),
    ]);
}

/// Memory without pages has no names, and is one with what is mapped beside it.
#[test]
fn untouched_memory_joins_where_it_moves() {
    let is_one = |touched: bool, keep: u64| {
        let mut answer = Err(Errno::EPERM);
        with_space(|space| {
            put(space, 0, 2, RW, ANON);
            put(space, 20, 2, RW, ANON);
            load(space, 0).expect("a page of zeroes");
            if touched {
                store(space, 1, 1).expect("memory");
            }
            mremap(space, B, 2 * P, 2 * P, FIXED | keep, B + 22 * P).expect("one mapping");
            answer = mremap(space, B + 20 * P, 4 * P, 5 * P, 0, 0);
            assert_eq!(load(space, 23), Ok(u8::from(touched)));
        });
        answer
    };
    assert_eq!(is_one(false, 0), Ok(B + 20 * P));
    assert_eq!(is_one(false, MREMAP_DONTUNMAP), Ok(B + 20 * P));
    assert_eq!(is_one(true, 0), Err(Errno::EFAULT));
}

/// The checks come in Linux's order.
#[test]
fn order_of_checks() {
    with_space(|space| {
        put(space, 0, 4, RW, ANON);
        let call = |old, old_length, new_length, flags, new| mremap(space, old, old_length, new_length, flags, new);
        let invalid = Err(Errno::EINVAL);
        assert_eq!(call(B, P, END + P, MOVE, 0), invalid, "longer than the address space");
        assert_eq!(call(B, P, END, MOVE, 0), Err(Errno::ENOMEM), "as long, but there is no room");
        assert_eq!(call(B, P, 2 * P, FIXED, END - P), invalid);
        assert_eq!(call(B, END - P, END - P, 0, 0), Ok(B), "nothing changes, so nothing is looked at");
        assert_eq!(call(B, END, P, 0, 0), invalid, "the tail leaves the address space");
        assert_eq!(call(B, u64::MAX, P, MOVE, 0), invalid, "rounded up to 0, of a private mapping");
        assert_eq!(call(END, P, P, 0, 0), Err(Errno::EFAULT));
        assert_eq!(call(1 << 63, 0, P, MOVE, 0), Err(Errno::EFAULT));
        assert_eq!(call(B, P, u64::MAX, MOVE, 0), invalid);
        assert_eq!(call(B + 8 * P, P, P, FIXED, 0), Err(Errno::EFAULT), "nothing there comes before too low");
        assert_eq!(call(B, P, P, FIXED, 0), Err(Errno::EPERM));
        assert_eq!(call(B + 8 * P, u64::MAX << 12, P, FIXED, B + 20 * P), Err(Errno::EFAULT));
        assert_eq!(call(B, u64::MAX << 12, P, FIXED, B + 20 * P), invalid);
        assert_eq!(layout(space), "0-4 rw-p");
    });
}
