//! Checking ranges of addresses that callers give.

use crate::arch::Arch;
use crate::error::Error;

/// How far an operation goes in a range that it cannot change throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nowhere: all or nothing.
    Whole,
    /// To the first hole, or the first mapping that may not be changed.
    Before,
    /// To the first mapping that may not be changed, around holes, the first of which it reports at the end.
    Mapped,
}

/// Where an operation ends, and what it returns.
pub(super) struct Reached {
    pub(super) end: u64,
    pub(super) result: Result<(), Error>,
}

/// Bytes of a page.
#[inline(always)]
pub(crate) const fn page<A: Arch>() -> u64 {
    1 << A::PAGE_SHIFT
}

/// `value`, if it is a multiple of the page size.
pub(crate) fn aligned<A: Arch>(what: &'static str, value: u64) -> Result<u64, Error> {
    if value & (page::<A>() - 1) == 0 { Ok(value) } else { Err(Error::Unaligned { what, value }) }
}

/// `length` rounded up to pages.
pub(crate) fn rounded<A: Arch>(start: u64, length: u64) -> Result<u64, Error> {
    match length.checked_add(page::<A>() - 1) {
        Some(length) => Ok(length & !(page::<A>() - 1)),
        None => Err(Error::OutOfRange { start, length }),
    }
}

/// First address and end of the range of `length` bytes at `start`, in whole pages, inside the user range.
/// (It may begin below [`Arch::USER_START`], where nothing is ever mapped.)
pub(crate) fn checked<A: Arch>(start: u64, length: u64) -> Result<(u64, u64), Error> {
    aligned::<A>("address", start)?;
    if length == 0 {
        return Err(Error::ZeroLength { what: "range" });
    }
    let bytes = rounded::<A>(start, length)?;
    match start.checked_add(bytes) {
        Some(end) if end <= A::USER_END => Ok((start, end)),
        _ => Err(Error::OutOfRange { start, length }),
    }
}

/// [`checked`], of a range where something may be mapped.
pub(super) fn mappable<A: Arch>(address: u64, length: u64) -> Result<(u64, u64), Error> {
    let (start, end) = checked::<A>(address, length)?;
    if start < A::USER_START { Err(Error::TooLow { address }) } else { Ok((start, end)) }
}

/// End of where room is sought for who would like to be at `hint`.
pub(super) fn search_end<A: Arch>(hint: u64) -> u64 {
    if hint & !(page::<A>() - 1) > A::SEARCH_END { A::USER_END } else { A::SEARCH_END }
}

/// The page of `hint`, if `length` bytes from there on lie inside the user range, and on one side of where the search
/// ends.
pub(super) fn usable_hint<A: Arch>(hint: u64, length: u64) -> Option<u64> {
    let start = hint & !(page::<A>() - 1);
    let end = start.checked_add(length).filter(|&end| start >= A::USER_START && end <= A::USER_END)?;
    (search_end::<A>(start) == search_end::<A>(end)).then_some(start)
}
