//! The table of errors in `docs/LINUX.md`: every row is provoked.

use crate::world::*;
use std::collections::BTreeMap;
use vellum::Space;
use vellum_linux::mmap::*;
use vellum_linux::*;

/// A row: call, mistake, name of the error, number.
type Row<'a> = [&'a str; 4];

/// What provokes each mistake of a call.
type Provocations = BTreeMap<(&'static str, &'static str), Box<dyn Fn(&Space<'_, M>) -> Called>>;

fn rows(text: &str) -> Vec<Row<'_>> {
    let chapter = text.split("\n## ").find(|chapter| chapter.starts_with("Errors"));
    let table = chapter.expect("a chapter of errors");
    let lines = table.lines().filter(|line| line.starts_with("| `"));
    lines
        .map(|line| {
            let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
            let mut next = || cells.next().expect("four cells");
            [next().trim_matches('`'), next(), next().trim_matches('`'), next()]
        })
        .collect()
}

fn put_two(space: &Space<'_, M>) {
    put(space, 0, 2, RW, ANON);
    put(space, 2, 2, R, SHARED);
}

fn provocations() -> Provocations {
    let mut all = Provocations::new();
    mapping(&mut all);
    changing(&mut all);
    moving(&mut all);
    advising(&mut all);
    asking(&mut all);
    all
}

/// Adds what provokes a mistake of a call.
macro_rules! provoke {
    ($all:ident, $call:literal: $($mistake:literal => |$space:ident| $result:expr;)*) => {
        $($all.insert(($call, $mistake), Box::new(move |$space| $result));)*
    };
}

fn mapping(all: &mut Provocations) {
    let anonymous = |space: &Space<'_, M>, address, length, flags| mmap(space, address, length, R, flags, None, 0);
    provoke! { all, "mmap":
        "the offset is not aligned" => |space| mmap(space, 0, P, R, ANON, None, 1);
        "the descriptor is not open" => |space| mmap(space, 0, P, R, MAP_PRIVATE, None, 0);
        "huge pages" => |space| anonymous(space, 0, P, ANON | MAP_HUGETLB);
        "length 0" => |space| anonymous(space, 0, 0, ANON);
        "longer than the address space" => |space| anonymous(space, 0, u64::MAX, ANON);
        "a fixed range leaves the address space" => |space| anonymous(space, END, P, ANON | MAP_FIXED);
        "a fixed address is not aligned" => |space| anonymous(space, B + 1, P, ANON | MAP_FIXED);
        "a fixed address is too low" => |space| anonymous(space, P, P, ANON | MAP_FIXED);
        "there is no room" => |space| anonymous(space, 0, END, ANON);
        "more than may be promised" => |space| mmap(space, 0, 1 << 40, RW, ANON, None, 0);
        "something is there, and must not be replaced" => |space| anonymous(space, B, P, ANON | MAP_FIXED_NOREPLACE);
        "to be locked" => |space| anonymous(space, 0, P, ANON | MAP_LOCKED);
        "neither shared nor private" => |space| anonymous(space, 0, P, MAP_ANONYMOUS);
        "growing down, but not private and anonymous" => |space| anonymous(space, 0, P, SHARED | MAP_GROWSDOWN);
        "the offset is too large" => |space| {
            let file = numbers(space);
            mmap(space, 0, P, R, MAP_SHARED, opened(&file, true), 1 << 63)
        };
        "an unknown flag with `MAP_SHARED_VALIDATE`" => |space| {
            let file = numbers(space);
            mmap(space, 0, P, R, MAP_SHARED_VALIDATE | 1 << 31, opened(&file, true), 0)
        };
        "a shared mapping to store to, of a file not opened for writing" => |space| {
            let file = numbers(space);
            mmap(space, 0, P, RW, MAP_SHARED, opened(&file, false), 0)
        };
        "a file not opened for reading" => |space| {
            let file = numbers(space);
            mmap(space, 0, P, R, MAP_PRIVATE, Some(File { object: &file, readable: false, writable: true }), 0)
        };
    }
}

fn changing(all: &mut Provocations) {
    let done = |result: Result<(), Errno>| result.map(|()| 0);
    provoke! { all, "munmap":
        "the address is not aligned" => |space| done(munmap(space, B + 1, P));
        "length 0" => |space| done(munmap(space, B, 0));
        "the range leaves the address space" => |space| done(munmap(space, B, END));
    }
    provoke! { all, "mprotect":
        "growing up and down" => |space| done(mprotect(space, B, P, PROT_GROWSDOWN | PROT_GROWSUP));
        "the address is not aligned" => |space| done(mprotect(space, B + 1, P, R));
        "the range wraps around" => |space| done(mprotect(space, B, u64::MAX, R));
        "unknown rights" => |space| done(mprotect(space, B, P, 0x80));
        "from the beginning of a stack, and there is none" => |space| done(mprotect(space, B, P, R | PROT_GROWSDOWN));
        "a hole" => |space| done(mprotect(space, B + 3 * P, 2 * P, R));
        "a file not opened for it" => |space| {
            let file = numbers(space);
            put_file(space, 0, 1, R, MAP_SHARED, opened(&file, false));
            done(mprotect(space, B, P, RW))
        };
        "more to store to than may be promised" => |space| {
            put(space, 0, 5000, R, ANON);
            done(mprotect(space, B, 5000 * P, RW))
        };
    }
}

fn moving(all: &mut Provocations) {
    let fixed = |space: &Space<'_, M>, old_length, new_length, new| {
        mremap(space, B, old_length, new_length, MREMAP_MAYMOVE | MREMAP_FIXED, new)
    };
    provoke! { all, "mremap":
        "an unknown flag" => |space| mremap(space, B, P, P, 8, 0);
        "the address is not aligned" => |space| mremap(space, B + 1, P, P, 0, 0);
        "new length 0" => |space| mremap(space, B, P, 0, 0, 0);
        "longer than the address space" => |space| mremap(space, B, P, END + P, MREMAP_MAYMOVE, 0);
        "the new range leaves the address space" => |space| fixed(space, P, P, END);
        "the new address is not aligned" => |space| fixed(space, P, P, B + 20 * P + 1);
        "a new address, and it must not move" => |space| mremap(space, B, P, P, MREMAP_FIXED, B + 20 * P);
        "the old mapping is to stay, and the length changes" => |space| {
            mremap(space, B, P, 2 * P, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0)
        };
        "the ranges overlap" => |space| fixed(space, 2 * P, 2 * P, B + P);
        "nothing is mapped at the address" => |space| mremap(space, B + 10 * P, P, P, 0, 0);
        "old length 0 of a private mapping" => |space| mremap(space, B, 0, P, MREMAP_MAYMOVE, 0);
        "several mappings, or a hole, where there must be one mapping" => |space| {
            mremap(space, B, 3 * P, 4 * P, MREMAP_MAYMOVE, 0)
        };
        "what is cut off leaves the address space" => |space| mremap(space, B, END, P, 0, 0);
        "the new address is too low" => |space| fixed(space, P, P, P);
        "it cannot grow in place, and must not move" => |space| mremap(space, B, 2 * P, 3 * P, 0, 0);
        "there is no room" => |space| mremap(space, B, 2 * P, END, MREMAP_MAYMOVE, 0);
        "more than may be promised" => |space| mremap(space, B, 2 * P, 5000 * P, MREMAP_MAYMOVE, 0);
    }
}

fn advising(all: &mut Provocations) {
    let advise = |space: &Space<'_, M>, page: u64, advice| madvise(space, B + page * P, P, advice).map(|()| 0);
    let populate = |space: &Space<'_, M>, ends_badly, at: u64| {
        let file = space.vm().file(Numbers { pages: 4, ends_badly })?;
        put_file(space, 0, 5, RW, MAP_SHARED, opened(&file, true));
        madvise(space, B + at * P, P, MADV_POPULATE_READ).map(|()| 0)
    };
    let remove = |space: &Space<'_, M>, writable, ends_badly, flags| {
        let file = space.vm().file(Numbers { pages: 4, ends_badly })?;
        put_file(space, 0, 4, R, flags, opened(&file, writable));
        madvise(space, B, P, MADV_REMOVE).map(|()| 0)
    };
    provoke! { all, "madvise":
        "an unknown advice" => |space| advise(space, 0, 77);
        "the address is not aligned" => |space| madvise(space, B + 1, P, MADV_NORMAL).map(|()| 0);
        "the range wraps around" => |space| madvise(space, B, u64::MAX, MADV_NORMAL).map(|()| 0);
        "`MADV_FREE` of what is not private and anonymous" => |space| advise(space, 2, MADV_FREE);
        "`MADV_WIPEONFORK` of what is not private and anonymous" => |space| advise(space, 2, MADV_WIPEONFORK);
        "`MADV_COLLAPSE` of a file" => |space| {
            let file = numbers(space);
            put_file(space, 0, 1, R, MAP_SHARED, opened(&file, true));
            advise(space, 0, MADV_COLLAPSE)
        };
        "`MADV_COLLAPSE` where there is no page" => |space| {
            const LENGTH: u64 = 4 << 20;
            let at = mmap(space, 0, LENGTH, RW, ANON, None, 0)?;
            madvise(space, at, LENGTH, MADV_COLLAPSE).map(|()| 0)
        };
        "`MADV_COLLAPSE` in a process that is to have no huge pages" => |space| {
            prctl(space, PR_SET_THP_DISABLE, [1, 0, 0, 0])?;
            advise(space, 0, MADV_COLLAPSE)
        };
        "`MADV_COLLAPSE`, and somebody has one of the pages in hand" => |space| {
            put(space, 512, 512, RW, ANON);
            store(space, 512, 1).expect("memory");
            let _held = space.hold(B + 512 * P);
            madvise(space, B + 512 * P, 512 * P, MADV_COLLAPSE).map(|()| 0)
        };
        "`MADV_COLLAPSE`, and the process's group has no room for the pages that come" => |space| {
            let group = space.vm().create_group(2)?;
            let member = group.create_space()?;
            put(&member, 0, 512, RW, ANON);
            store(&member, 0, 1).expect("memory");
            madvise(&member, B, 512 * P, MADV_COLLAPSE).map(|()| 0)
        };
        "`MADV_REMOVE` of private anonymous memory" => |space| advise(space, 0, MADV_REMOVE);
        "`MADV_REMOVE` of a private mapping of a file" => |space| remove(space, true, false, MAP_PRIVATE);
        "`MADV_REMOVE` of a file not opened for writing" => |space| remove(space, false, false, MAP_SHARED);
        "`MADV_REMOVE` of a file that can have no holes" => |space| remove(space, true, false, MAP_SHARED);
        "`MADV_REMOVE`, and the file system fails" => |space| remove(space, true, true, MAP_SHARED);
        "a hole" => |space| advise(space, 5, MADV_DONTNEED);
        "to populate, without the right" => |space| advise(space, 2, MADV_POPULATE_WRITE);
        "to populate, beyond the end of the file" => |space| populate(space, false, 4);
        "to populate, and the file cannot be read" => |space| populate(space, true, 3);
        "to populate a guard" => |space| {
            advise(space, 0, MADV_GUARD_INSTALL)?;
            advise(space, 0, MADV_POPULATE_READ)
        };
    }
}

fn asking(all: &mut Provocations) {
    let tell = |space: &Space<'_, M>, address, length| mincore(space, address, length, &mut |_, _| ()).map(|()| 0);
    provoke! { all, "mincore":
        "the address is not aligned" => |space| tell(space, B + 1, P);
        "the range leaves the address space" => |space| tell(space, B, END);
        "a hole" => |space| tell(space, B, 5 * P);
    }
    provoke! { all, "prctl":
        "an option that is not about memory" => |space| prctl(space, 1, [0; 4]);
        "unknown flags, or arguments that the option does not have" => |space| {
            prctl(space, PR_SET_THP_DISABLE, [0, PR_THP_DISABLE_EXCEPT_ADVISED, 0, 0])
        };
    }
    let sync = |space: &Space<'_, M>, address, length, flags| msync(space, address, length, flags).map(|()| 0);
    provoke! { all, "msync":
        "an unknown flag" => |space| sync(space, B, P, 8);
        "the address is not aligned" => |space| sync(space, B + 1, P, MS_SYNC);
        "at once, and not at once" => |space| sync(space, B, P, MS_SYNC | MS_ASYNC);
        "the range wraps around" => |space| sync(space, B, 0u64.wrapping_sub(P), MS_SYNC);
        "a hole" => |space| sync(space, B + 3 * P, 2 * P, MS_SYNC);
        "the file cannot be written" => |space| {
            let file = space.vm().file(Numbers { pages: 4, ends_badly: true })?;
            put_file(space, 0, 1, RW, MAP_SHARED, opened(&file, true));
            store(space, 0, 9).expect("the page can be read");
            let result = sync(space, B, P, MS_SYNC);
            munmap(space, B, P)?;
            result
        };
    }
}

#[test]
fn every_row_is_what_happens() {
    let text = include_str!("../../../../docs/LINUX.md");
    let mut provocations = provocations();
    let rows = rows(text);
    assert!(!rows.is_empty(), "the table is found");
    for [call, mistake, name, number] in rows {
        let provoke = provocations.iter().find(|((a_call, a_mistake), _)| (*a_call, *a_mistake) == (call, mistake));
        let (&key, provoke) = provoke.unwrap_or_else(|| panic!("nothing provokes {call}: {mistake}"));
        with_space(|space| {
            put_two(space);
            let errno = provoke(space).expect_err(&format!("{call}: {mistake}"));
            assert_eq!((errno.to_string().as_str(), errno.0.to_string().as_str()), (name, number), "{call}: {mistake}");
        });
        provocations.remove(&key);
    }
    let missing: Vec<_> = provocations.keys().collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}
