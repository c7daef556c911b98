use crate::world::*;
use vellum_linux::mmap::*;
use vellum_linux::*;

/// `RLIMIT_AS`: what comes, less what it replaces, must be within it; where something else is wrong too, that is said.
#[test]
fn all_that_is_mapped_is_limited() {
    with_space(|space| {
        put(space, 0, 4, RW, ANON);
        put(space, 20, 2, RW, SHARED);
        space.set_mapped_limit(8 * P);
        let map = |at: u64, pages: u64, flags| mmap(space, B + at * P, pages * P, RW, ANON | flags, None, 0);
        let over = Err(Errno::ENOMEM);
        assert_eq!(map(10, 3, MAP_FIXED), over);
        assert_eq!(map(0, 3, MAP_FIXED_NOREPLACE), Err(Errno::EEXIST));
        assert_eq!(map(0, 6, MAP_FIXED), Ok(B));
        assert_eq!(map(10, 1, MAP_FIXED), over);
        assert_eq!(map(0, 6, MAP_FIXED), Ok(B), "in place of as much");
        let remap = |old: u64, old_length: u64, new_length: u64, flags, new: u64| {
            mremap(space, B + old * P, old_length * P, new_length * P, flags, new)
        };
        assert_eq!(remap(50, 1, 2, 1, 0), Err(Errno::EFAULT), "nothing is there");
        assert_eq!(remap(0, 6, 7, 1, 0), over);
        assert_eq!(remap(20, 0, 1, 1, 0), over);
        assert_eq!(remap(0, 0, 1, 1, 0), Err(Errno::EINVAL), "private memory is not mapped twice");
        assert_eq!(remap(0, 6, 6, 3, B + 30 * P), Ok(B + 30 * P));
        assert_eq!(remap(30, 1, 1, 5, 0), over);
        assert_eq!(remap(30, 1, 1, 7, B + 35 * P), Ok(B + 35 * P), "in place of as much");
    });
}
