//! The text of system calls as valgrind prints it.
//!
//! A call is `name ( arguments )`, then perhaps `[sync]`, then ` --> ` and the outcome. The outcome
//! may stand on the next line, and the next record may follow it on the same line.

use super::error::{Reason, excerpt};
use super::event::{CallKind, CloneKind};

/// How a call ended, or that it has not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success(u64),
    /// The call did what it does and has no result (`rt_sigreturn`).
    NoResult,
    Failure,
    /// The outcome comes later, on a line of its own.
    Async,
}

/// The text before the outcome, the outcome, and what follows it on the line; `None` without one.
pub(super) fn split_outcome(text: &[u8]) -> Option<(&[u8], Outcome, &[u8])> {
    const ARROW: &[u8] = b" --> ";
    memchr::memmem::find_iter(text, ARROW).find_map(|at| {
        let (outcome, rest) = read_outcome(&text[at + ARROW.len()..])?;
        Some((&text[..at], outcome, rest))
    })
}

fn read_outcome(text: &[u8]) -> Option<(Outcome, &[u8])> {
    if let Some(rest) = text.strip_prefix(b"[async] ...") {
        return Some((Outcome::Async, skip_space(rest)));
    }
    let text =
        [&b"[pre-success] "[..], b"[pre-fail] "].iter().find_map(|prefix| text.strip_prefix(*prefix)).unwrap_or(text);
    if let Some(rest) = text.strip_prefix(b"NoWriteResult") {
        return Some((Outcome::NoResult, skip_space(rest)));
    }
    let (is_success, text) = match text.strip_prefix(b"Success(") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix(b"Failure(")?),
    };
    let close = memchr::memchr(b')', text)?;
    let value = number(&text[..close])?;
    let outcome = if is_success { Outcome::Success(value) } else { Outcome::Failure };
    Some((outcome, skip_space(&text[close + 1..])))
}

/// Valgrind prints one space behind an outcome; what is glued on begins after it.
fn skip_space(text: &[u8]) -> &[u8] {
    text.strip_prefix(b" ").unwrap_or(text)
}

/// Whether this is an `execve` whose text is complete: after it the program's memory is replaced.
pub(super) fn is_exec(text: &[u8]) -> bool {
    matches!(name(text), b"execve" | b"execveat") && text.trim_ascii_end().ends_with(b")")
}

/// The call's name, without `sys_`.
fn name(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"sys_").unwrap_or(text);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    &text[..text.iter().position(|byte| !is_name(byte)).unwrap_or(text.len())]
}

/// Decodes a successful call.
pub(super) fn decode(number: u32, text: &[u8], result: u64) -> Result<CallKind, Reason> {
    decode_known(text, result)
        .unwrap_or_else(|| Some(CallKind::Other { name: other_name(number, text) }))
        .ok_or_else(|| Reason::MalformedCall(excerpt(text)))
}

fn other_name(number: u32, text: &[u8]) -> Box<str> {
    const NAME_BYTES_MAX: usize = 64;
    match name(text) {
        b"" | b"unimplemented" => format!("syscall_{number}").into(),
        name => String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_MAX)]).into(),
    }
}

/// `None` for a call that traces do not decode, `Some(None)` for one that cannot be read.
fn decode_known(text: &[u8], result: u64) -> Option<Option<CallKind>> {
    let call = match name(text) {
        b"mmap" | b"old_mmap" => decode_mmap(text, result),
        b"munmap" => two(text).map(|(address, length)| CallKind::Munmap { address, length }),
        b"mprotect" => {
            arguments::<3>(text).map(|[address, length, protection]| CallKind::Mprotect { address, length, protection })
        }
        b"mremap" => arguments::<4>(text).map(|[old_address, old_length, new_length, flags]| CallKind::Mremap {
            address: old_address,
            old_length,
            new_length,
            flags,
            result,
        }),
        b"brk" => arguments::<1>(text).map(|[requested]| CallKind::Brk { requested, result }),
        b"madvise" => {
            arguments::<3>(text).map(|[address, length, advice]| CallKind::Madvise { address, length, advice })
        }
        b"mlock" => two(text).map(|(address, length)| CallKind::Mlock { address, length, flags: 0 }),
        b"mlock2" => arguments::<3>(text).map(|[address, length, flags]| CallKind::Mlock { address, length, flags }),
        b"munlock" => two(text).map(|(address, length)| CallKind::Munlock { address, length }),
        b"mlockall" => arguments::<1>(text).map(|[flags]| CallKind::MlockAll { flags }),
        b"munlockall" => Some(CallKind::MunlockAll),
        b"open" | b"openat" | b"openat2" | b"creat" => decode_open(text, result),
        b"close" => arguments::<1>(text).map(|[fd]| CallKind::Close { fd: fd as i32 }),
        b"clone" | b"clone3" | b"fork" | b"vfork" => decode_clone(text, result),
        b"execve" | b"execveat" => Some(CallKind::Exec),
        b"exit" => Some(CallKind::ExitThread),
        b"exit_group" => Some(CallKind::ExitProcess),
        _ => return None,
    };
    Some(call)
}

fn decode_mmap(text: &[u8], result: u64) -> Option<CallKind> {
    let [hint, length, protection, flags, fd, offset] = arguments(text)?;
    Some(CallKind::Mmap { hint, length, protection, flags, fd: fd as i32, offset, result })
}

/// The path stands in parentheses behind its address: `0x4034bb0(/etc/passwd)`.
fn decode_open(text: &[u8], result: u64) -> Option<CallKind> {
    let inside = argument_text(text)?;
    let first = memchr::memchr(b'(', inside)? + 1;
    let last = memchr::memrchr(b')', inside)?;
    let path = inside.get(first..last)?.into();
    Some(CallKind::Open { fd: i32::try_from(result).ok()?, path })
}

/// `clone` prints its flags first, in hexadecimal without `0x`.
fn decode_clone(text: &[u8], result: u64) -> Option<CallKind> {
    let child = u32::try_from(result).ok()?;
    let flags = match name(text) {
        b"clone" => {
            let first = argument_text(text)?.split(|byte| *byte == b',').next()?;
            Some(hexadecimal(first.trim_ascii())?)
        }
        b"clone3" => None,
        _ => Some(0),
    };
    // Valgrind says so itself where it makes a process.
    let kind = match flags {
        _ if created_child(text).is_some() => CloneKind::Process,
        Some(flags) => CloneKind::from_flags(flags),
        None => CloneKind::Thread,
    };
    Some(CallKind::Clone { kind, flags, child })
}

/// The process that a fork's text says it made.
pub(super) fn created_child(text: &[u8]) -> Option<u32> {
    const MARK: &[u8] = b" created child ";
    let digits = &text[memchr::memmem::find(text, MARK)? + MARK.len()..];
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    u32::try_from(decimal(&digits[..length])?).ok()
}

/// What stands between the parentheses around a call's arguments.
fn argument_text(text: &[u8]) -> Option<&[u8]> {
    let open = memchr::memchr(b'(', text)? + 1;
    let body = &text[open..];
    // A clone's text goes on after the arguments, with parentheses of its own.
    let close = match memchr::memmem::find(body, b" )") {
        Some(at) if name(text) == b"clone" => at,
        _ => memchr::memrchr(b')', body)?,
    };
    Some(&body[..close])
}

fn two(text: &[u8]) -> Option<(u64, u64)> {
    arguments::<2>(text).map(|[first, second]| (first, second))
}

/// The first `N` arguments of a call, all of them numbers.
fn arguments<const N: usize>(text: &[u8]) -> Option<[u64; N]> {
    let mut parts = argument_text(text)?.split(|byte| *byte == b',');
    let mut values = [0; N];
    for value in &mut values {
        *value = number(parts.next()?.trim_ascii())?;
    }
    Some(values)
}

/// A number as valgrind prints them: hexadecimal behind `0x`, else decimal, perhaps negative.
fn number(text: &[u8]) -> Option<u64> {
    if let Some(digits) = text.strip_prefix(b"0x") {
        return hexadecimal(digits);
    }
    match text.strip_prefix(b"-") {
        Some(digits) => Some(decimal(digits)?.wrapping_neg()),
        None => decimal(text),
    }
}

/// A decimal number and nothing else.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| Some(value << 4 | u64::from(hex_digit(*byte)?)))
}

/// The value of a lower-case hexadecimal digit.
#[inline]
pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
