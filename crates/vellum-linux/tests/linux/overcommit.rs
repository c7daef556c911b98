use crate::world::*;
use vellum::{CommitLimit, Overcommit};
use vellum_linux::mmap::*;
use vellum_linux::*;

/// `vm.overcommit_memory` 2: all that is committed is within the limit, `MAP_NORESERVE` or not.
#[test]
fn all_that_is_committed_is_limited() {
    with_space(|space| {
        space.vm().set_overcommit(Overcommit::Never(CommitLimit::Bytes(8 * P)));
        let over = Err(Errno::ENOMEM);
        let map = |at: u64, pages: u64, prot, flags| mmap(space, B + at * P, pages * P, prot, flags, None, 0);
        assert_eq!(map(0, 9, RW, ANON | MAP_FIXED | MAP_NORESERVE), over);
        assert_eq!(map(0, 6, RW, ANON | MAP_FIXED | MAP_NORESERVE), Ok(B));
        assert_eq!(layout(space), "0-6 rw-p", "what is reserved is not without a reservation");
        assert_eq!(map(0, 9, RW, ANON | MAP_FIXED), over, "in place of six");
        assert_eq!(map(0, 3, RW, ANON | MAP_FIXED_NOREPLACE), Err(Errno::EEXIST));
        assert_eq!(map(0, 3, RW, SHARED | MAP_FIXED_NOREPLACE), Err(Errno::EEXIST), "noticed first");
        assert_eq!(map(20, 3, RW, SHARED | MAP_FIXED), over);
        assert_eq!(map(20, 3, R, ANON | MAP_FIXED), Ok(B + 20 * P));
        assert_eq!(mprotect(space, B + 20 * P, 3 * P, RW).map(|()| 0), over);
        assert_eq!(mprotect(space, B + 20 * P, 2 * P, RW), Ok(()));
        assert_eq!(mremap(space, B, 6 * P, 7 * P, MREMAP_MAYMOVE, 0), over);
        assert_eq!(munmap(space, B + 5 * P, P), Ok(()));
        assert_eq!(mremap(space, B, 5 * P, 6 * P, MREMAP_MAYMOVE, 0), Ok(B));
        space.set_brk_base(B + 100 * P).expect("an address");
        assert_eq!(brk(space, B + 101 * P), B + 100 * P, "the end stays");
        assert_eq!(munmap(space, B + 20 * P, P), Ok(()));
        assert_eq!(brk(space, B + 101 * P), B + 101 * P);
        assert_eq!(space.vm().committed_bytes(), 8 * P);
        assert!(space.fork().is_err());
    });
}
