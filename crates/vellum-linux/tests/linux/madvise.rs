use crate::world::*;
use vellum::ops::FaultError;
use vellum_linux::mmap::*;
use vellum_linux::*;

/// What is mapped takes the advice, around holes.
#[test]
fn advice_goes_around_holes() {
    with_space(|space| {
        put(space, 0, 2, RW, ANON);
        put(space, 4, 2, RW, ANON);
        assert_eq!(madvise(space, B, 8 * P, MADV_DONTFORK), Err(Errno::ENOMEM));
        assert_eq!(layout(space), "0-2 rw-p dc, 4-6 rw-p dc");
        assert_eq!(madvise(space, B + 2 * P, P, MADV_DONTFORK), Err(Errno::ENOMEM));
        store(space, 0, 1).and_then(|()| store(space, 5, 1)).expect("memory");
        assert_eq!(madvise(space, B, 8 * P, MADV_DONTNEED), Err(Errno::ENOMEM));
        assert_eq!((load(space, 0), load(space, 5)), (Ok(0), Ok(0)));
        for advice in [MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_FREE, MADV_NORMAL] {
            assert_eq!(madvise(space, B, 8 * P, advice), Err(Errno::ENOMEM), "{advice}");
        }
        assert_eq!(madvise(space, B + 4 * P, (1 << 63) - B, MADV_DOFORK), Err(Errno::ENOMEM));
        assert_eq!(layout(space), "0-2 rw-p dc, 4-6 rw-p", "what lies beyond the address space is a hole");
    });
}

/// A mapping which the advice does not fit ends it, and its error is the one returned.
#[test]
fn advice_ends_where_it_does_not_fit() {
    with_space(|space| {
        let file = numbers(space);
        put(space, 0, 1, RW, ANON);
        put_file(space, 2, 2, RW, MAP_SHARED, opened(&file, true));
        put(space, 6, 1, RW, ANON);
        assert_eq!(madvise(space, B, 8 * P, MADV_WIPEONFORK), Err(Errno::EINVAL));
        assert_eq!(layout(space), "0-1 rw-p wf, 2-4 rw-s, 6-7 rw-p");
        assert_eq!(madvise(space, B, 8 * P, MADV_FREE), Err(Errno::EINVAL));
    });
}

#[test]
fn order_of_checks() {
    with_space(|space| {
        put(space, 0, 2, RW, ANON);
        assert_eq!(madvise(space, B + 1, 0, MADV_NORMAL), Err(Errno::EINVAL));
        assert_eq!(madvise(space, B, u64::MAX, MADV_NORMAL), Err(Errno::EINVAL));
        assert_eq!(madvise(space, B, 0u64.wrapping_sub(P), MADV_NORMAL), Err(Errno::EINVAL));
        assert_eq!(madvise(space, B + 2 * P, 0, MADV_NORMAL), Ok(()), "length 0 comes before the hole");
        assert_eq!(madvise(space, 1 << 63, P, MADV_DONTNEED), Err(Errno::ENOMEM));
        for number in [5, 6, 7, 26, 27, 77, 101, 104] {
            assert_eq!(madvise(space, B, 0, number), Err(Errno::EINVAL), "{number}");
        }
    });
}

/// Populating asks for the right that the mapping names, and stays with what it has reached.
#[test]
fn populating() {
    with_space(|space| {
        let rights = [(W, Err(Errno::EINVAL), Ok(())), (X, Err(Errno::EINVAL), Err(Errno::EINVAL))];
        let more = [(R, Ok(()), Err(Errno::EINVAL)), (0, Err(Errno::EINVAL), Err(Errno::EINVAL)), (RW, Ok(()), Ok(()))];
        for (prot, read, write) in rights.into_iter().chain(more) {
            put(space, 0, 1, prot, ANON);
            assert_eq!(madvise(space, B, P, MADV_POPULATE_READ), read, "{prot}");
            assert_eq!(madvise(space, B, P, MADV_POPULATE_WRITE), write, "{prot}");
        }
        put(space, 0, 1, RW, ANON);
        put(space, 3, 1, RW, ANON);
        assert_eq!(madvise(space, B, 4 * P, MADV_POPULATE_WRITE), Err(Errno::ENOMEM));
        assert_eq!((core(space, 0, 1).0, core(space, 3, 1).0), ("1".into(), "0".into()), "up to the hole");
        let file = numbers(space);
        put_file(space, 10, 5, RW, MAP_SHARED, opened(&file, true));
        assert_eq!(madvise(space, B + 10 * P, 5 * P, MADV_POPULATE_READ), Err(Errno::EFAULT));
        assert_eq!(madvise(space, B + 10 * P, 5 * P, MADV_POPULATE_WRITE), Err(Errno::EFAULT));
        assert_eq!(core(space, 10, 5).0, "11110", "up to the end of the file");
    });
}

/// What is mapped takes guards, around holes, whatever it is, and stays one mapping.
#[test]
fn guards() {
    let absent = |page: u64| Err(FaultError::Segv { address: B + page * P, denied: false });
    fn denied<T>(page: u64) -> Result<T, FaultError> {
        Err(FaultError::Segv { address: B + page * P, denied: true })
    }
    with_space(|space| {
        let file = numbers(space);
        put(space, 0, 4, RW, ANON);
        put_file(space, 6, 4, R, MAP_SHARED, opened(&file, true));
        (0..4).for_each(|page| store(space, page, 7).expect("memory"));
        assert_eq!(load(space, 8), load(space, 8));
        assert_eq!(madvise(space, B + P, 8 * P, MADV_GUARD_INSTALL), Err(Errno::ENOMEM));
        assert_eq!(layout(space), "0-4 rw-p, 6-10 r--s");
        assert_eq!((load(space, 0), load(space, 1), store(space, 8, 1)), (Ok(7), absent(1), denied(8)));
        assert_eq!((core(space, 0, 4).0, core(space, 8, 1).0), ("1000".into(), "1".into()));
        assert_eq!(mprotect(space, B, 4 * P, 0), Ok(()));
        assert_eq!(load(space, 1), denied(1));
        assert_eq!(mprotect(space, B, 4 * P, RW), Ok(()));
        assert_eq!(madvise(space, B, 4 * P, MADV_POPULATE_WRITE), Err(Errno::EFAULT));
        assert_eq!(mremap(space, B, 4 * P, 5 * P, 0, 0), Ok(B), "it is one mapping");
        assert_eq!((load(space, 1), load(space, 4)), (absent(1), Ok(0)));
        assert_eq!(madvise(space, B, 10 * P, MADV_GUARD_REMOVE), Err(Errno::ENOMEM));
        assert_eq!((load(space, 0), load(space, 1)), (Ok(7), Ok(0)));
        assert!(load(space, 8).is_ok());
    });
}

/// `EAGAIN`, as `ENOMEM` says that there is a hole; but where pages are asked for it says both.
#[test]
fn short_memory() {
    with_space(|space| {
        space.vm().set_overcommit(vellum::Overcommit::Always);
        let untouched = B + (2 << 30);
        let mapped = mmap(space, untouched, 1 << 30, RW, ANON | MAP_FIXED, None, 0);
        assert_eq!(mapped, Ok(untouched));
        put(space, 0, 8192, RW, ANON);
        assert_eq!(madvise(space, B, 8192 * P, MADV_POPULATE_WRITE), Err(Errno::ENOMEM));
        for advice in [MADV_DONTFORK, MADV_SEQUENTIAL, MADV_WIPEONFORK] {
            assert_eq!(madvise(space, untouched + P, P, advice), Err(Errno::EAGAIN), "{advice}");
        }
        assert_eq!(madvise(space, untouched + P, P, MADV_GUARD_INSTALL), Err(Errno::ENOMEM));
        assert_eq!(layout(space), format!("0-8192 rw-p, {}-{} rw-p", 2 << 18, 3 << 18));
    });
}

/// What is not part of a core dump is a mapping of its own.
#[test]
fn dumps() {
    with_space(|space| {
        put(space, 0, 3, RW, ANON);
        assert_eq!(madvise(space, B + P, P, MADV_DONTDUMP), Ok(()));
        assert_eq!(layout(space), "0-1 rw-p, 1-2 rw-p dd, 2-3 rw-p");
        assert_eq!(mremap(space, B, 3 * P, 4 * P, 0, 0), Err(Errno::EFAULT));
        assert_eq!(madvise(space, B, 3 * P, MADV_DODUMP), Ok(()));
        assert_eq!(layout(space), "0-3 rw-p");
    });
}

/// Which memory gets huge pages; a stack's gets none. Whatever is mapped takes the advice, also what has none in the
/// end.
#[test]
fn huge_pages() {
    with_space(|space| {
        let file = numbers(space);
        put(space, 0, 1024, RW, ANON);
        put_file(space, 1030, 4, RW, MAP_SHARED, opened(&file, true));
        put(space, 1040, 1, RW, ANON | MAP_STACK);
        put(space, 1050, 1, RW, SHARED);
        assert_eq!(madvise(space, B, 1100 * P, MADV_HUGEPAGE), Err(Errno::ENOMEM), "around holes");
        assert_eq!(layout(space), "0-1024 rw-p hg, 1030-1034 rw-s hg, 1040-1041 rw-p hg, 1050-1051 rw-s hg");
        assert_eq!(madvise(space, B + 512 * P, 512 * P, MADV_NOHUGEPAGE), Ok(()), "the one takes the other back");
        (0..3).for_each(|page| store(space, page * 511, 7).expect("memory"));
        let found = |from| core(space, from, 512).0.matches('1').count();
        assert_eq!((found(0), found(512)), (512, 1));
        put(space, 1040, 1, RW, ANON | MAP_STACK);
        assert_eq!(madvise(space, B + 1030 * P, 4 * P, MADV_NOHUGEPAGE), Ok(()));
        let rest = "1030-1034 rw-s nh, 1040-1041 rw-p nh, 1050-1051 rw-s hg";
        assert_eq!(layout(space), format!("0-512 rw-p hg, 512-1024 rw-p nh, {rest}"));
    });
}

/// A hole in what shared mappings show: up to a mapping that shows nothing to make one in, around holes. Rights do not
/// matter, as long as they may come back.
#[test]
fn removing() {
    with_space(|space| {
        put(space, 0, 6, RW, SHARED);
        put(space, 3, 1, RW, ANON);
        assert_eq!(munmap(space, B + P, P), Ok(()));
        (0..6).filter(|&page| page != 1).for_each(|page| store(space, page, 7).expect("memory"));
        assert_eq!(madvise(space, B, 6 * P, MADV_REMOVE), Err(Errno::EINVAL));
        let loaded: Vec<_> = [0, 2, 3, 4, 5].map(|page| load(space, page).expect("mapped")).into();
        assert_eq!(loaded, [0, 0, 7, 7, 7]);
        assert_eq!(madvise(space, B, 3 * P, MADV_REMOVE), Err(Errno::ENOMEM), "the hole in the range");
        assert_eq!(madvise(space, B + 4 * P + 1, 0, MADV_REMOVE), Err(Errno::EINVAL));
        assert_eq!(mprotect(space, B + 4 * P, P, R), Ok(()));
        assert_eq!(madvise(space, B + 4 * P, P, MADV_REMOVE), Ok(()));
        assert_eq!((load(space, 4), load(space, 5)), (Ok(0), Ok(7)));
    });
}
