use crate::world::*;
use vellum_linux::*;

#[test]
fn the_heap() {
    with_space(|space| {
        space.set_brk_base(B).expect("an address");
        assert_eq!(brk(space, 0), B);
        assert_eq!(brk(space, B + 4 * P - 5), B + 4 * P - 5);
        assert_eq!(layout(space), "0-4 rw-p");
        assert_eq!((brk(space, B - P), brk(space, 1 << 63)), (B + 4 * P - 5, B + 4 * P - 5), "below, and beyond");
        put(space, 8, 1, R, ANON);
        assert_eq!(brk(space, B + 8 * P), B + 4 * P - 5, "a page stays free before a mapping");
        assert_eq!(brk(space, B + 7 * P), B + 7 * P);
        assert_eq!(brk(space, B + 4 * P), B + 4 * P);
        assert_eq!(layout(space), "0-4 rw-p, 8-9 r--p");
    });
}

/// What somebody else has unmapped cannot be given back.
#[test]
fn an_unmapped_heap() {
    with_space(|space| {
        space.set_brk_base(B).expect("an address");
        assert_eq!(brk(space, B + 4 * P), B + 4 * P);
        munmap(space, B + 2 * P, 2 * P).expect("mapped");
        assert_eq!(brk(space, B + 3 * P), B + 4 * P, "nothing is there");
        assert_eq!(brk(space, B + P), B + P, "a page is there");
        assert_eq!(layout(space), "0-1 rw-p");
        assert_eq!(brk(space, B + 4 * P), B + 4 * P);
        munmap(space, B, 4 * P).expect("mapped");
        assert_eq!(brk(space, B + 5 * P), B + 5 * P, "but it may grow");
        assert_eq!(layout(space), "4-5 rw-p");
    });
}
