use crate::world::*;
use vellum_linux::*;

/// The flags are an `int`: what lies above it in the register means nothing.
#[test]
fn flags_are_an_int() {
    with_space(|space| {
        put(space, 0, 1, RW, ANON);
        let above = 1 << 32;
        assert_eq!(msync(space, B, P, above | MS_SYNC), Ok(()));
        assert_eq!(msync(space, B, P, above | 8), Err(Errno::EINVAL));
        assert_eq!(msync(space, B, P, above | MS_ASYNC | MS_SYNC), Err(Errno::EINVAL));
    });
}
