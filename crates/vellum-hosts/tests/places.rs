//! Where the core puts what may lie anywhere, on architectures for which its own tests do not compile it.

use vellum::Error;
use vellum::ops::Place::{Anywhere, Hint};
use vellum_hosts::HostArch;

/// With five levels, nothing lies above 2^47 but what asks for it.
#[test]
fn high_addresses_are_for_those_who_ask() {
    const TOP: u64 = (1 << 47) - 4096;
    const HIGH: u64 = 1 << 50;
    let (half, whole) = (1 << 46, 1 << 47);
    let requests =
        [(half, Anywhere), (whole, Anywhere), (whole, Hint(1 << 46)), (whole, Hint(HIGH)), (whole, Hint(HIGH))];
    let answers = HostArch::X86_64La57.places(&requests);
    let [low, anywhere, across, high, other] = answers[..].try_into().expect("an answer each");
    assert!(low.expect("room") + half <= TOP);
    assert_eq!(anywhere, Err(Error::NoAddressSpace { length: whole }));
    assert_eq!(across, Err(Error::NoAddressSpace { length: whole }), "neither below nor above");
    assert_eq!(high, Ok(HIGH));
    let other = other.expect("room elsewhere");
    assert!(other != HIGH && other + whole > TOP);
}
