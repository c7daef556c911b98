//! Which results are a difference that is meant. Each looks at both sides': what only one of them would excuse may be a
//! fault of the other.

use super::Disputed;
use crate::abi::*;
use crate::arena::{PAGE, STACK_LIMIT};
use crate::maps::{Line, Shown};
use crate::op::{Call, Outcome};

/// One side refuses because it sees more mappings than the other, or a longer one; or both change a stack from where it
/// begins on, which they see at different places.
pub fn joined_neighbours(disputed: &Disputed<'_>) -> bool {
    let Disputed { linux, ours, linux_lines, our_lines, .. } = *disputed;
    if let Call::Protect { address, prot, .. } = *disputed.call {
        let begin = |lines| stack_at(lines, address).map(|line| line.start);
        return prot & PROT_GROWSDOWN != 0 && linux == ours && begin(linux_lines) != begin(our_lines);
    }
    let (refusing, granting, granted) = match (is_refused(linux), is_refused(ours)) {
        (true, false) => (linux_lines, our_lines, ours),
        (false, true) => (our_lines, linux_lines, linux),
        _ => return false,
    };
    match *disputed.call {
        Call::Remap { address, length, new_length, flags, .. } => {
            // What is cut off goes first, however many mappings it is.
            let end = address.saturating_add(length.min(new_length));
            let may_be_several = length == new_length && flags & MREMAP_FIXED != 0;
            // One mapping may still be one that cannot grow.
            let is_granted = matches!(granted, Outcome::Value(_) | Outcome::Error(ENOMEM));
            is_granted && !may_be_several && count(refusing, address, end) > count(granting, address, end)
        }
        Call::Load { address } | Call::Store { address, .. } | Call::Read { address, .. } | Call::Write { address } => {
            stack_above(refusing, address) > Some(STACK_LIMIT)
                && stack_above(granting, address).is_some_and(|bytes| bytes <= STACK_LIMIT)
        }
        _ => false,
    }
}

/// Whether nothing that fits is mapped there.
fn is_refused(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Error(EFAULT) | Outcome::Signal(SIGSEGV, SEGV_MAPERR, _))
}

/// Mappings within a range.
fn count(lines: &[Line], start: u64, end: u64) -> usize {
    lines.iter().filter(|line| line.start < end && line.end > start).count()
}

/// The mapping at an address, if it grows down.
fn stack_at(lines: &[Line], address: u64) -> Option<&Line> {
    lines.iter().find(|line| line.start <= address && address < line.end && line.flags.grows_down)
}

/// How long the stack above an address would be if it grew down to it.
fn stack_above(lines: &[Line], address: u64) -> Option<u64> {
    let above = lines.iter().find(|line| line.end > address)?;
    let is_stack = above.start > address && above.flags.grows_down;
    is_stack.then_some(above.end - address / PAGE * PAGE)
}

/// Linux takes the address for an error number.
pub fn last_addresses(disputed: &Disputed<'_>) -> bool {
    let Call::Map { address, .. } = *disputed.call else { return false };
    let error = address.wrapping_neg();
    error < PAGE && disputed.linux == Outcome::Error(error as i32) && disputed.ours == Outcome::Error(ENOMEM)
}

/// The hint was good, but not for so much more as Linux wants for aligning a file's huge pages.
pub fn hints_for_files(disputed: &Disputed<'_>) -> bool {
    const HUGE: u64 = 2 << 20;
    let Disputed { linux: Outcome::Value(linux), ours: Outcome::Value(ours), linux_lines, .. } = *disputed else {
        return false;
    };
    let Call::Map { address, length, flags, .. } = *disputed.call else { return false };
    let is_for_file = flags & (MAP_ANONYMOUS | MAP_FIXED | MAP_FIXED_NOREPLACE) == 0 && length >= HUGE;
    let end = ours.saturating_add(length).next_multiple_of(PAGE);
    is_for_file
        && ours == address.next_multiple_of(PAGE)
        && linux != ours
        && count(linux_lines, ours, end) == 0
        && count(linux_lines, end, end.saturating_add(HUGE)) > 0
}

/// Both fail, or the new place is the old one; and Linux had something to unmap before it failed.
pub fn half_done_moves(disputed: &Disputed<'_>) -> bool {
    let Disputed { linux, ours, linux_lines, .. } = *disputed;
    let Call::Remap { address, length, new_length, flags, new_address } = *disputed.call else { return false };
    let at = linux_lines.iter().find(|line| line.start <= address && address < line.end);
    let has = |start: u64, bytes: u64| count(linux_lines, start, start.saturating_add(bytes)) > 0;
    let is_replaced = has(new_address, new_length);
    let covers = new_address <= address && address - new_address < new_length;
    // An old range that wraps around escapes the check that both places are separate.
    let wraps = length > 1 << 46;
    let is_half_done = match (linux, ours) {
        (Outcome::Error(EFAULT), Outcome::Value(to)) => {
            length == 0 && new_address == address && to == address && at.is_some_and(|line| line.is_shared)
        }
        (Outcome::Error(EFAULT), Outcome::Error(EINVAL)) => wraps && covers && at.is_some(),
        (Outcome::Error(EFAULT), Outcome::Error(EFAULT)) | (Outcome::Error(EINVAL), Outcome::Error(EINVAL)) => {
            (length == 0 || wraps) && is_replaced
        }
        (Outcome::Error(EPERM), Outcome::Error(EPERM)) => {
            new_length < length && has(address.saturating_add(new_length), length - new_length)
        }
        _ => false,
    };
    flags & MREMAP_FIXED != 0 && is_half_done
}

/// A file's mapping that grows beyond the last offset there is: in Linux it does, or cannot grow for another reason.
pub fn end_of_offsets(disputed: &Disputed<'_>) -> bool {
    let Call::Remap { address, length, new_length, .. } = *disputed.call else { return false };
    let line = disputed.our_lines.iter().find(|line| line.start <= address && address < line.end);
    let end = |line: &Line| line.offset.saturating_add(address - line.start).saturating_add(new_length);
    let goes_beyond = line.is_some_and(|line| line.shown != Shown::Nothing && end(line) > 1 << 63);
    goes_beyond
        && new_length > length
        && matches!(disputed.linux, Outcome::Value(_) | Outcome::Error(ENOMEM))
        && disputed.ours == Outcome::Error(EINVAL)
}

/// A move of several mappings, all of them at once.
pub fn several_moved(disputed: &Disputed<'_>) -> bool {
    let Disputed { linux, ours, linux_lines, .. } = *disputed;
    let Call::Remap { address, length, new_length, flags, new_address } = *disputed.call else { return false };
    flags & MREMAP_FIXED != 0
        && length == new_length
        && count(linux_lines, address, address.saturating_add(length)) > 1
        && linux == Outcome::Error(EFAULT)
        && ours == Outcome::Value(new_address)
}

/// A hole beyond what a file can have: an error to Linux, which ends there. Vellum has nothing to remove, and comes to
/// what lies behind, whatever that is.
pub fn largest_file(disputed: &Disputed<'_>) -> bool {
    let Call::Advise { advice, .. } = *disputed.call else { return false };
    u64::from(advice as u32) == MADV_REMOVE && disputed.linux == Outcome::Error(EFBIG)
}

#[cfg(test)]
mod tests {
    use super::super::{DIFFERENCES, Version, known};
    use super::*;
    use crate::arena;
    use crate::maps::Flags;

    const AT: u64 = arena::page(510);
    const TO: u64 = arena::page(600);
    const NOW: Version = (6, 18);
    const FAULT: Outcome = Outcome::Error(EFAULT);
    const MOVED: Outcome = Outcome::Value(TO);

    fn lines(borders: &[u64]) -> Vec<Line> {
        let line = |pair: &[u64]| Line {
            start: AT + pair[0] * PAGE,
            end: AT + pair[1] * PAGE,
            prot: 3,
            is_shared: false,
            shown: Shown::Nothing,
            offset: 0,
            flags: Flags::default(),
        };
        borders.windows(2).map(line).collect()
    }

    /// The same, which grow down.
    fn stacks(borders: &[u64]) -> Vec<Line> {
        let mut lines = lines(borders);
        lines.iter_mut().for_each(|line| line.flags.grows_down = true);
        lines
    }

    fn remap(length: u64, new_length: u64, new_address: u64) -> Call {
        let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
        Call::Remap { address: AT, length, new_length, flags, new_address }
    }

    /// What is meant by the results in Linux and in Vellum, with the lines of each.
    fn meant(
        call: Call,
        (linux, ours): (Outcome, Outcome),
        (linux_lines, our_lines): (&[Line], &[Line]),
        version: Version,
    ) -> Option<&'static str> {
        let disputed = Disputed { call: &call, linux, ours, linux_lines, our_lines };
        known(&disputed, version).map(|row| DIFFERENCES[row].id)
    }

    #[test]
    fn neighbours_excuse_only_the_side_that_sees_more_of_them() {
        let (two, one) = (lines(&[0, 1, 3]), lines(&[0, 3]));
        let call = remap(3 * PAGE, 4 * PAGE, TO);
        let is = |results, lines| meant(call, results, lines, NOW);
        assert_eq!(is((FAULT, MOVED), (&two, &one)), Some("joined-neighbours"));
        assert_eq!(is((MOVED, FAULT), (&one, &two)), Some("joined-neighbours"));
        assert_eq!(is((Outcome::Error(ENOMEM), FAULT), (&one, &two)), Some("joined-neighbours"));
        assert_eq!(is((FAULT, MOVED), (&one, &two)), None);
        assert_eq!(is((FAULT, MOVED), (&one, &one)), None);
        assert_eq!(is((MOVED, Outcome::Value(AT)), (&two, &one)), None);
        assert_eq!(is((FAULT, FAULT), (&two, &one)), None);
        assert_eq!(is((FAULT, Outcome::Error(EPERM)), (&two, &one)), None);
        assert_eq!(meant(remap(3 * PAGE, 3 * PAGE, TO), (FAULT, MOVED), (&two, &one), NOW), None);
    }

    #[test]
    fn stacks_excuse_only_the_side_on_which_one_is_too_long() {
        let (two, one) = (stacks(&[0, 1, 3]), stacks(&[0, 3]));
        let address = AT + PAGE - STACK_LIMIT;
        let (call, signal) = (Call::Load { address }, Outcome::Signal(SIGSEGV, SEGV_MAPERR, address));
        let is = |call, results, lines| meant(call, results, lines, NOW);
        assert_eq!(is(call, (Outcome::Value(0), signal), (&two, &one)), Some("joined-neighbours"));
        assert_eq!(is(call, (signal, Outcome::Value(0)), (&two, &one)), None);
        assert_eq!(is(call, (Outcome::Value(0), Outcome::Value(1)), (&two, &one)), None);
        assert_eq!(is(Call::Load { address: AT - PAGE }, (Outcome::Value(0), signal), (&two, &one)), None);
    }

    #[test]
    fn stacks_excuse_a_change_from_where_they_begin_on() {
        let (two, one) = (stacks(&[0, 1, 3]), stacks(&[0, 3]));
        let (done, denied) = (Outcome::Value(0), Outcome::Error(EACCES));
        let protect = |prot| Call::Protect { address: AT + PAGE, length: PAGE, prot };
        let is = |prot, results, lines| meant(protect(prot), results, lines, NOW);
        let down = PROT_READ | PROT_GROWSDOWN;
        assert_eq!(is(down, (done, done), (&two, &one)), Some("joined-neighbours"));
        assert_eq!(is(down, (done, done), (&one, &one)), None);
        assert_eq!(is(down, (done, denied), (&two, &one)), None);
        assert_eq!(is(PROT_READ, (done, done), (&two, &one)), None);
        assert_eq!(is(down, (done, done), (&lines(&[0, 1, 3]), &lines(&[0, 3]))), None, "no stack");
    }

    #[test]
    fn half_done_moves_look_at_what_vellum_does() {
        let invalid = Outcome::Error(EINVAL);
        let one = lines(&[0, 3]);
        let shared: Vec<Line> = one.iter().map(|line| Line { is_shared: true, ..*line }).collect();
        let is = |call, results, lines: &[Line]| meant(call, results, (lines, lines), NOW);
        let row = Some("half-done-moves");
        assert_eq!(is(remap(0, PAGE, AT), (FAULT, Outcome::Value(AT)), &shared), row);
        assert_eq!(is(remap(0, PAGE, AT), (FAULT, Outcome::Value(AT)), &one), None);
        assert_eq!(is(remap(0, PAGE, TO), (FAULT, MOVED), &shared), None);
        assert_eq!(is(remap(0, PAGE, TO), (FAULT, invalid), &shared), None);
        let wrapping = |to| remap(0u64.wrapping_sub(PAGE), PAGE, to);
        assert_eq!(is(wrapping(AT), (FAULT, invalid), &one), row);
        assert_eq!(is(wrapping(AT + PAGE), (invalid, invalid), &one), row);
        assert_eq!(is(wrapping(TO), (invalid, invalid), &one), None);
        assert_eq!(is(wrapping(AT + PAGE), (invalid, Outcome::Value(AT + PAGE)), &one), None);
        let denied = Outcome::Error(EPERM);
        assert_eq!(is(remap(2 * PAGE, PAGE, 0), (denied, denied), &one), row);
        assert_eq!(is(remap(2 * PAGE, PAGE, 0), (denied, invalid), &one), None);
        assert_eq!(is(remap(PAGE, PAGE, 0), (denied, denied), &one), None);
    }

    #[test]
    fn several_move_only_as_linux_has_learnt_to() {
        let (two, one) = (lines(&[0, 1, 3]), lines(&[0, 3]));
        let is = |call, ours, lines: &[Line], version| meant(call, (FAULT, ours), (lines, lines), version);
        let (same, before) = (remap(3 * PAGE, 3 * PAGE, TO), (6, 16));
        assert_eq!(is(same, MOVED, &two, before), Some("several-moved"));
        assert_eq!(is(same, MOVED, &two, (6, 17)), None);
        assert_eq!(is(same, MOVED, &one, before), None);
        assert_eq!(is(same, Outcome::Value(AT), &two, before), None);
        assert_eq!(is(remap(3 * PAGE, 4 * PAGE, TO), MOVED, &two, before), None);
        let Call::Remap { address, length, new_length, .. } = same else { unreachable!() };
        let anywhere = Call::Remap { address, length, new_length, flags: MREMAP_MAYMOVE, new_address: TO };
        assert_eq!(is(anywhere, MOVED, &two, before), None);
    }

    #[test]
    fn offsets_end_where_linux_goes_on() {
        let offset = (1 << 63) - 4 * PAGE;
        let file: Vec<Line> =
            lines(&[0, 3]).iter().map(|line| Line { shown: Shown::File(1), offset, ..*line }).collect();
        let invalid = Outcome::Error(EINVAL);
        let is = |call, linux| meant(call, (linux, invalid), (&file, &file), NOW);
        let row = Some("end-of-offsets");
        assert_eq!(is(remap(3 * PAGE, 5 * PAGE, TO), MOVED), row);
        assert_eq!(is(remap(3 * PAGE, 5 * PAGE, TO), Outcome::Error(ENOMEM)), row);
        assert_eq!(is(remap(3 * PAGE, 5 * PAGE, TO), FAULT), None);
        assert_eq!(is(remap(3 * PAGE, 4 * PAGE, TO), MOVED), None);
        assert_eq!(is(remap(3 * PAGE, 2 * PAGE, TO), MOVED), None);
    }

    #[test]
    fn hints_for_large_files_are_passed_over_where_little_more_is_free() {
        const PAGES: u64 = 1024;
        let map = |pages, flags| Call::Map { address: AT, length: pages * PAGE, prot: 3, flags, file: 3, offset: 0 };
        let elsewhere = (Outcome::Value(AT + (64 << 20)), Outcome::Value(AT));
        // So many pages are free behind the place.
        let is = |call, free, results| meant(call, results, (&lines(&[PAGES + free, 4 * PAGES]), &[]), NOW);
        assert_eq!(is(map(PAGES, MAP_PRIVATE), 1, elsewhere), Some("hints-for-files"));
        assert_eq!(is(map(PAGES, MAP_PRIVATE), 512, elsewhere), None, "there is room");
        assert_eq!(is(map(PAGES, MAP_PRIVATE), 1, (elsewhere.1, elsewhere.0)), None, "the other way round");
        assert_eq!(is(map(PAGES, MAP_PRIVATE | MAP_ANONYMOUS), 1, elsewhere), None);
        assert_eq!(is(map(PAGES, MAP_PRIVATE | MAP_FIXED), 1, elsewhere), None);
        assert_eq!(is(map(511, MAP_PRIVATE), PAGES, elsewhere), None, "too small");
    }

    #[test]
    fn only_the_last_addresses_are_errors() {
        let map = |address| Call::Map { address, length: PAGE, prot: 3, flags: MAP_FIXED, file: -1, offset: 0 };
        let is = |address, results| meant(map(address), results, (&[], &[]), NOW);
        let none = Outcome::Error(ENOMEM);
        assert_eq!(is(u64::MAX - 10, (Outcome::Error(11), none)), Some("last-addresses"));
        assert_eq!(is(u64::MAX - 10, (Outcome::Error(11), Outcome::Error(EINVAL))), None);
        assert_eq!(is((1 << 32) - 11, (Outcome::Error(11), none)), None);
    }
}
