use crate::world::*;
use vellum_linux::mmap::*;
use vellum_linux::*;

/// What is mapped where a mapping must not replace anything comes before the file and the type.
#[test]
fn order_of_checks() {
    with_space(|space| {
        let file = numbers(space);
        let (reading, writing) = (opened(&file, false), opened(&file, true));
        let call = |address, length, prot, flags, file, offset| mmap(space, address, length, prot, flags, file, offset);
        put(space, 0, 4, RW, ANON);
        assert_eq!(call(0, P, R, MAP_PRIVATE, None, 5), Err(Errno::EINVAL), "an offset comes before the descriptor");
        assert_eq!(call(0, 0, R, MAP_PRIVATE, None, 0), Err(Errno::EBADF), "and that before the length");
        assert_eq!(call(0, 0, R, MAP_ANONYMOUS, None, 0), Err(Errno::EINVAL));
        assert_eq!(call(0, u64::MAX - 4, R, ANON, None, 0), Err(Errno::ENOMEM));
        assert_eq!(call(0, END + P, R, ANON, None, 0), Err(Errno::ENOMEM));
        assert_eq!(call(0, END, R, MAP_ANONYMOUS, None, 0), Err(Errno::ENOMEM), "no room comes before the type");
        assert_eq!(
            call(END + 5, P, R, ANON | MAP_FIXED, None, 0),
            Err(Errno::ENOMEM),
            "leaving comes before alignment"
        );
        assert_eq!(call(B + 5, P, R, ANON | MAP_FIXED, None, 0), Err(Errno::EINVAL));
        assert_eq!(call(0, P, R, MAP_ANONYMOUS | MAP_FIXED, None, 0), Err(Errno::EPERM));
        let taken = Err(Errno::EEXIST);
        assert_eq!(call(B, P, RW, MAP_SHARED | MAP_FIXED_NOREPLACE, reading, 0), taken);
        assert_eq!(call(B, P, R, MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, None, 0), taken);
        assert_eq!(call(B, P, R, ANON | MAP_LOCKED | MAP_FIXED_NOREPLACE, None, 0), taken);
        assert_eq!(call(0, P, R, ANON | MAP_LOCKED, None, 0), Err(Errno::EPERM));
        assert_eq!(call(0, 2 * P, RW, MAP_SHARED, reading, (1 << 63) - P), Err(Errno::EOVERFLOW), "before the rights");
        assert_eq!(call(0, P, R, MAP_PRIVATE, writing, (1 << 63) - P), Err(Errno::EOVERFLOW));
        assert!(call(0, P, R, MAP_PRIVATE, writing, (1 << 63) - 2 * P).is_ok());
        assert!(call(0, P, R, ANON, None, 0u64.wrapping_sub(P)).is_ok(), "without a file it means nothing");
        let validate = |flags, file| call(B + 100 * P, P, RW, MAP_SHARED_VALIDATE | flags, file, 0);
        assert_eq!(validate(1 << 31, reading), Err(Errno::EOPNOTSUPP), "before the rights");
        assert_eq!(validate(MAP_FIXED_NOREPLACE, writing), Err(Errno::EOPNOTSUPP));
        assert_eq!(validate(MAP_ANONYMOUS, None), Err(Errno::EINVAL));
        assert!(validate(MAP_STACK | MAP_NONBLOCK | MAP_POPULATE | 0x800_0000, writing).is_ok());
        assert!(call(0, P, R, MAP_SHARED | 1 << 31 | 0x8_0000, writing, 0).is_ok());
        assert_eq!(call(0, P, RW, MAP_SHARED | MAP_GROWSDOWN, reading, 0), Err(Errno::EACCES), "before what grows");
        assert!(call(0, P, 0xf00 | R, ANON, None, 0).is_ok(), "further rights mean nothing");
    });
}

#[test]
fn hints() {
    with_space(|space| {
        let call = |address| mmap(space, address, P, R, ANON, None, 0);
        assert_eq!(call(B + 20 * P + 7), Ok(B + 20 * P));
        assert!(call(B + 20 * P).is_ok_and(|address| address != B + 20 * P), "it is taken");
        assert_eq!(call(P), Ok(0x1_0000), "one that is too low is the lowest");
        assert!(call(1 << 63).is_ok());
    });
}

/// What a file was opened for is the most that a shared mapping of it may be given.
#[test]
fn rights_of_files() {
    with_space(|space| {
        let file = numbers(space);
        let only_writing = Some(File { object: &file, readable: false, writable: true });
        for (flags, prot) in [(MAP_PRIVATE, R), (MAP_SHARED, W)] {
            assert_eq!(mmap(space, 0, P, prot, flags, only_writing, 0), Err(Errno::EACCES));
        }
        put_file(space, 0, 4, RW, MAP_PRIVATE, opened(&file, false));
        assert_eq!(load(space, 3), Ok(3));
        store(space, 3, 9).expect("a copy");
        assert_eq!(core(space, 0, 4).0, "0001");
    });
}

/// A shared mapping is not made dirty by populating; what may be executed alone is read.
#[test]
fn populating() {
    with_space(|space| {
        let file = numbers(space);
        put_file(space, 0, 4, RW, MAP_SHARED | MAP_POPULATE, opened(&file, true));
        assert_eq!(core(space, 0, 4).0, "1111");
        assert_eq!(file.write_back(), Ok(0));
        for (at, prot, flags, expected) in [
            (10, X, MAP_POPULATE, "1"),
            (11, W, MAP_POPULATE, "1"),
            (12, RW, MAP_POPULATE | MAP_NONBLOCK, "0"),
            (13, 0, MAP_POPULATE, "0"),
        ] {
            put(space, at, 1, prot, ANON | flags);
            assert_eq!(core(space, at, 1).0, expected, "page {at}");
        }
    });
}
