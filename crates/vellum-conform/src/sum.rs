//! Sums of contents.

use crate::arena::PAGE;

/// In a sum: it is of contents, and not the signal that came instead.
const CONTENTS: u64 = 1 << 63;

/// What stands for the contents of a page, whose words `load` gets, or for the signal that the first of them gets.
#[inline]
pub fn of_page(mut load: impl FnMut(u64) -> Result<u64, u32>) -> u64 {
    let mut sum = 0x9e37_79b9_7f4a_7c15u64;
    for offset in (0..PAGE).step_by(8) {
        match load(offset) {
            Ok(word) => sum = (sum ^ word).wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(29),
            Err(signal) => return signal.into(),
        }
    }
    sum | CONTENTS
}
