use crate::world::*;
use vellum::Space;
use vellum::ops::HugePages;
use vellum_linux::*;

const HUGE: u64 = 2 << 20;

/// Pages of a huge page's place that are there after a store to one of them.
fn came(space: &Space<'_, M>, advice: u64) -> usize {
    const PAGE: u64 = 1024;
    put(space, PAGE, 512, RW, ANON);
    assert_eq!(madvise(space, B + PAGE * P, HUGE, advice), Ok(()));
    store(space, PAGE, 1).expect("memory");
    let found = core(space, PAGE, 512).0.matches('1').count();
    assert_eq!(munmap(space, B + PAGE * P, HUGE), Ok(()));
    found
}

/// None, or only what is advised; children inherit it, and `MADV_COLLAPSE` heeds it.
#[test]
fn a_process_without_huge_pages() {
    with_space(|space| {
        space.vm().set_huge_pages(HugePages::Always);
        let get = |space: &Space<'_, M>| prctl(space, PR_GET_THP_DISABLE, [0; 4]);
        let set = |on, flags| prctl(space, PR_SET_THP_DISABLE, [on, flags, 0, 0]);
        let all = |space| [MADV_NORMAL, MADV_HUGEPAGE, MADV_NOHUGEPAGE].map(|advice| came(space, advice));
        assert_eq!((get(space), all(space)), (Ok(0), [512, 512, 1]));
        assert_eq!((set(1, 0), get(space), all(space)), (Ok(0), Ok(1), [1, 1, 1]));
        put(space, 0, 512, RW, ANON);
        store(space, 0, 1).expect("memory");
        assert_eq!(madvise(space, B, HUGE, MADV_COLLAPSE), Err(Errno::EINVAL));
        let child = space.fork().expect("memory");
        assert_eq!(get(&child), Ok(1));
        drop(child);
        assert_eq!((set(7, PR_THP_DISABLE_EXCEPT_ADVISED), get(space), all(space)), (Ok(0), Ok(3), [1, 512, 1]));
        assert_eq!(madvise(space, B, HUGE, MADV_COLLAPSE), Ok(()));
        assert_eq!((set(0, 0), get(space), all(space)), (Ok(0), Ok(0), [512, 512, 1]));
    });
}

#[test]
fn wrong_arguments_change_nothing() {
    with_space(|space| {
        for (option, arguments) in [
            (PR_SET_THP_DISABLE, [1, 1, 0, 0]),
            (PR_SET_THP_DISABLE, [1, 4, 0, 0]),
            (PR_SET_THP_DISABLE, [0, PR_THP_DISABLE_EXCEPT_ADVISED, 0, 0]),
            (PR_SET_THP_DISABLE, [1, 0, 1, 0]),
            (PR_SET_THP_DISABLE, [1, 0, 0, 1]),
            (PR_GET_THP_DISABLE, [1, 0, 0, 0]),
            (PR_GET_THP_DISABLE, [0, 0, 0, 1]),
            (0, [0; 4]),
            (43, [0; 4]),
        ] {
            assert_eq!(prctl(space, option, arguments), Err(Errno::EINVAL), "{option}: {arguments:?}");
        }
        assert_eq!(space.huge_pages(), HugePages::Always);
    });
}
