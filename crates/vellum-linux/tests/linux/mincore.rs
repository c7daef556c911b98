use crate::world::*;
use vellum_linux::mmap::*;
use vellum_linux::*;

#[test]
fn what_is_in_memory() {
    with_space(|space| {
        put(space, 0, 4, RW, ANON);
        store(space, 0, 1).expect("memory");
        load(space, 1).expect("a page of zeroes");
        assert_eq!(core(space, 0, 4), ("1100".into(), Ok(())));
        assert_eq!(core(space, 0, 6), ("1100".into(), Err(Errno::ENOMEM)), "up to the hole");
        let file = numbers(space);
        put_file(space, 10, 5, RW, MAP_SHARED, opened(&file, true));
        put_file(space, 20, 4, RW, MAP_PRIVATE, opened(&file, true));
        assert_eq!(core(space, 10, 5).0, "00000");
        load(space, 11).and(load(space, 22)).expect("pages of the file");
        assert_eq!(
            (core(space, 10, 5).0, core(space, 20, 4).0),
            ("01100".into(), "0110".into()),
            "in the file's cache"
        );
    });
}

#[test]
fn order_of_checks() {
    with_space(|space| {
        put(space, 0, 1, RW, ANON);
        let call = |address, length| mincore(space, address, length, &mut |_, _| ());
        assert_eq!(call(B + 1, 0), Err(Errno::EINVAL));
        assert_eq!(call(B + P, 0), Ok(()), "length 0 comes before the hole");
        assert_eq!((call(1 << 63, 0), call(END + P, 0)), (Err(Errno::ENOMEM), Err(Errno::ENOMEM)));
        assert_eq!((call(END, 0), call(B, 1)), (Ok(()), Ok(())));
        assert_eq!((call(B, u64::MAX), call(END - P, P + 1)), (Err(Errno::ENOMEM), Err(Errno::ENOMEM)));
    });
}
