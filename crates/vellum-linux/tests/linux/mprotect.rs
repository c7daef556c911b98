use crate::world::*;
use vellum_linux::mmap::*;
use vellum_linux::*;

/// What lies before a hole has the new rights.
#[test]
fn what_lies_before_a_hole_is_done() {
    with_space(|space| {
        put(space, 0, 4, RW, ANON);
        put(space, 6, 2, RW, ANON);
        assert_eq!(mprotect(space, B, 8 * P, R), Err(Errno::ENOMEM));
        assert_eq!(layout(space), "0-4 r--p, 6-8 rw-p");
        assert_eq!(mprotect(space, B + 4 * P, 4 * P, 0), Err(Errno::ENOMEM), "the hole comes first");
        assert_eq!(layout(space), "0-4 r--p, 6-8 rw-p");
        assert_eq!(mprotect(space, B + 6 * P, 0u64.wrapping_sub(B + 7 * P), 0), Err(Errno::ENOMEM));
        assert_eq!(layout(space), "0-4 r--p, 6-8 ---p", "what lies beyond the address space is a hole");
    });
}

/// What lies before a file that was not opened for it has the new rights.
#[test]
fn what_lies_before_a_denied_mapping_is_done() {
    with_space(|space| {
        let file = numbers(space);
        put(space, 0, 1, RW, ANON);
        put_file(space, 1, 1, R, MAP_SHARED, opened(&file, false));
        put(space, 2, 1, RW, ANON);
        assert_eq!(mprotect(space, B, 5 * P, RW | X), Err(Errno::EACCES), "it comes before the hole");
        assert_eq!(layout(space), "0-1 rwxp, 1-2 r--s, 2-3 rw-p");
        assert_eq!(mprotect(space, B + P, P, R | X), Ok(()));
        put_file(space, 1, 1, R, MAP_PRIVATE, opened(&file, false));
        assert_eq!(mprotect(space, B + P, P, RW), Ok(()), "a private copy may be stored to");
    });
}

#[test]
fn order_of_checks() {
    with_space(|space| {
        put(space, 0, 4, RW, ANON);
        let both = PROT_GROWSDOWN | PROT_GROWSUP;
        assert_eq!(mprotect(space, B, 0, both), Err(Errno::EINVAL));
        assert_eq!(mprotect(space, B + 1, 0, 0), Err(Errno::EINVAL));
        assert_eq!(mprotect(space, B, 0, 0x80), Ok(()), "length 0 comes before the rights");
        assert_eq!(mprotect(space, B, u64::MAX - 3, 0x80), Err(Errno::ENOMEM), "as does wrapping around");
        assert_eq!(mprotect(space, B, 0u64.wrapping_sub(B), 0x80), Err(Errno::ENOMEM));
        assert_eq!(mprotect(space, B + 4 * P, P, 0x80), Err(Errno::EINVAL), "and they before the hole");
        assert_eq!(mprotect(space, B, P, PROT_SEM | RW), Ok(()));
        assert_eq!(mprotect(space, B, P, R | PROT_GROWSUP), Err(Errno::EINVAL));
        assert_eq!(mprotect(space, B + 4 * P, P, R | PROT_GROWSUP), Err(Errno::ENOMEM));
        assert_eq!(mprotect(space, 1 << 63, P, 0), Err(Errno::ENOMEM));
    });
}

/// From the beginning of a stack on, which then grows with those rights.
#[test]
fn stacks() {
    with_space(|space| {
        put(space, 0, 2, RW, ANON);
        assert_eq!(mprotect(space, B, P, R | PROT_GROWSDOWN), Err(Errno::EINVAL));
        put(space, 1000, 4, RW, ANON | MAP_GROWSDOWN);
        assert_eq!(mprotect(space, B + 1002 * P, P, R | PROT_GROWSDOWN), Ok(()));
        assert_eq!(layout(space), "0-2 rw-p, 1000-1003 r--p gd, 1003-1004 rw-p gd");
        assert_eq!(mprotect(space, B + 998 * P, 4 * P, PROT_GROWSDOWN), Ok(()), "it may begin below");
        assert_eq!(layout(space), "0-2 rw-p, 1000-1002 ---p gd, 1002-1003 r--p gd, 1003-1004 rw-p gd");
        assert_eq!(mprotect(space, B + 994 * P, P, R | PROT_GROWSDOWN), Err(Errno::ENOMEM));
        assert_eq!(mprotect(space, B + 1002 * P, 4 * P, RW | PROT_GROWSDOWN), Err(Errno::ENOMEM));
        assert_eq!(layout(space), "0-2 rw-p, 1000-1002 ---p gd, 1002-1004 rw-p gd");
        assert_eq!(mprotect(space, B + 1001 * P, P, RW | X | PROT_GROWSDOWN), Ok(()));
        store(space, 998, 1).expect("it grows");
        assert_eq!(layout(space), "0-2 rw-p, 998-1002 rwxp gd, 1002-1004 rw-p gd");
    });
}
