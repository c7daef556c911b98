//! `prctl`, of whose options these are about memory.

use crate::Errno;
use vellum::ops::HugePages;
use vellum::{Machine, Space};

/// Says whether the process may have huge pages.
pub const PR_SET_THP_DISABLE: u64 = 41;
/// Asks that: 0 if it may, else 1 and the flags.
pub const PR_GET_THP_DISABLE: u64 = 42;
/// A flag for [`PR_SET_THP_DISABLE`]: what is advised may all the same.
pub const PR_THP_DISABLE_EXCEPT_ADVISED: u64 = 1 << 1;

/// Changes what holds for all of a space, or asks for it, as `prctl` does; what it returns. `arguments` are the second
/// to the fifth. What is said of huge pages is kept by what there is then, and inherited by children of fork; who
/// replaces a space by another for `execve` hands it on ([`Space::set_huge_pages`]).
///
/// # Errors
/// `EINVAL` for every other option, for arguments that an option does not have and that are not 0, and for unknown
/// flags.
pub fn prctl<M: Machine>(space: &Space<'_, M>, option: u64, arguments: [u64; 4]) -> Result<u64, Errno> {
    // The option is an int.
    match (option as u32 as u64, arguments) {
        (PR_SET_THP_DISABLE, [0, 0, 0, 0]) => space.set_huge_pages(HugePages::Always),
        (PR_SET_THP_DISABLE, [1..=u64::MAX, 0, 0, 0]) => space.set_huge_pages(HugePages::Never),
        (PR_SET_THP_DISABLE, [1..=u64::MAX, PR_THP_DISABLE_EXCEPT_ADVISED, 0, 0]) => {
            space.set_huge_pages(HugePages::Advised)
        }
        (PR_GET_THP_DISABLE, [0, 0, 0, 0]) => {
            return Ok(match space.huge_pages() {
                HugePages::Always => 0,
                HugePages::Advised => 1 | PR_THP_DISABLE_EXCEPT_ADVISED,
                HugePages::Never => 1,
            });
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}
