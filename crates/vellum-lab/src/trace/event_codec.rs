//! Thread switches and calls as bytes: a tag, then the fields as variable-length numbers.

use super::error::Reason;
use super::event::{Call, CallKind, CloneKind, Event};

const BYTES_MAX: u64 = 64 << 10;

/// Appends a number, seven bits a byte, the lowest first.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the signed difference of two addresses.
#[inline]
pub(super) fn put_difference(out: &mut Vec<u8>, to: u64, from: u64) {
    let difference = to.wrapping_sub(from) as i64;
    put(out, (difference << 1 ^ difference >> 63) as u64);
}

/// A place in bytes that are read.
#[derive(Default)]
pub(super) struct Cursor {
    bytes: Vec<u8>,
    at: usize,
}

impl Cursor {
    pub fn new(bytes: Vec<u8>) -> Cursor {
        Cursor { bytes, at: 0 }
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    #[inline]
    pub fn byte(&mut self) -> Result<u8, Reason> {
        let byte = *self.bytes.get(self.at).ok_or(Reason::Damaged("a stream is too short"))?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub fn number(&mut self) -> Result<u64, Reason> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Reason::Damaged("a number is too long"))
    }

    /// The address at the difference that follows.
    #[inline]
    pub fn address(&mut self, from: u64) -> Result<u64, Reason> {
        let value = self.number()?;
        Ok(from.wrapping_add(value >> 1 ^ (value & 1).wrapping_neg()))
    }

    fn narrow(&mut self) -> Result<u32, Reason> {
        u32::try_from(self.number()?).map_err(|_| Reason::Damaged("a number is too large"))
    }

    fn bytes(&mut self) -> Result<Box<[u8]>, Reason> {
        let length = self.number()?;
        let end = self.at as u64 + length.min(BYTES_MAX + 1);
        if length > BYTES_MAX || end > self.bytes.len() as u64 {
            return Err(Reason::Damaged("a text is too long"));
        }
        let text = self.bytes[self.at..end as usize].into();
        self.at = end as usize;
        Ok(text)
    }
}

const THREAD_INFERRED: u8 = 0;
const THREAD_EXACT: u8 = 1;

/// Appends an event that is no access.
pub(super) fn put_event(out: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Access(_) => unreachable!("accesses have streams of their own"),
        Event::Thread { tid, is_exact } => {
            out.push(if *is_exact { THREAD_EXACT } else { THREAD_INFERRED });
            put(out, u64::from(*tid));
        }
        Event::Call(call) => put_call(out, call),
    }
}

fn put_call(out: &mut Vec<u8>, call: &Call) {
    let mut fields = |tag: u8, values: &[u64]| {
        out.push(tag);
        put(out, u64::from(call.tid));
        values.iter().for_each(|value| put(out, *value));
    };
    match &call.kind {
        CallKind::Mmap { hint, length, protection, flags, fd, offset, result } => {
            fields(2, &[*hint, *length, *protection, *flags, u64::from(*fd as u32), *offset, *result]);
        }
        CallKind::Munmap { address, length } => fields(3, &[*address, *length]),
        CallKind::Mprotect { address, length, protection } => fields(4, &[*address, *length, *protection]),
        CallKind::Mremap { address, old_length, new_length, flags, result } => {
            fields(5, &[*address, *old_length, *new_length, *flags, *result]);
        }
        CallKind::Brk { requested, result } => fields(6, &[*requested, *result]),
        CallKind::Madvise { address, length, advice } => fields(7, &[*address, *length, *advice]),
        CallKind::Mlock { address, length, flags } => fields(8, &[*address, *length, *flags]),
        CallKind::Munlock { address, length } => fields(9, &[*address, *length]),
        CallKind::MlockAll { flags } => fields(10, &[*flags]),
        CallKind::MunlockAll => fields(11, &[]),
        CallKind::Open { fd, path } => {
            let path = &path[..path.len().min(BYTES_MAX as usize)];
            fields(12, &[u64::from(*fd as u32), path.len() as u64]);
            out.extend_from_slice(path);
        }
        CallKind::Close { fd } => fields(13, &[u64::from(*fd as u32)]),
        CallKind::Clone { kind, flags, child } => {
            let kind = u64::from(*kind == CloneKind::Process);
            // Zero is for unknown flags; no clone has all bits set.
            fields(14, &[kind, flags.map_or(0, |flags| flags.wrapping_add(1)), u64::from(*child)]);
        }
        CallKind::Exec => fields(15, &[]),
        CallKind::ExitThread => fields(16, &[]),
        CallKind::ExitProcess => fields(17, &[]),
        CallKind::Other { name } => {
            fields(18, &[name.len() as u64]);
            out.extend_from_slice(name.as_bytes());
        }
    }
}

/// Reads an event that [`put_event`] wrote.
pub(super) fn get_event(input: &mut Cursor) -> Result<Event, Reason> {
    let tag = input.byte()?;
    let tid = input.narrow()?;
    if matches!(tag, THREAD_INFERRED | THREAD_EXACT) {
        return Ok(Event::Thread { tid, is_exact: tag == THREAD_EXACT });
    }
    let kind = get_call(tag, input)?;
    Ok(Event::Call(Box::new(Call { tid, kind })))
}

fn get_call(tag: u8, input: &mut Cursor) -> Result<CallKind, Reason> {
    let mut next = || input.number();
    Ok(match tag {
        2 => CallKind::Mmap {
            hint: next()?,
            length: next()?,
            protection: next()?,
            flags: next()?,
            fd: next()? as i32,
            offset: next()?,
            result: next()?,
        },
        3 => CallKind::Munmap { address: next()?, length: next()? },
        4 => CallKind::Mprotect { address: next()?, length: next()?, protection: next()? },
        5 => CallKind::Mremap {
            address: next()?,
            old_length: next()?,
            new_length: next()?,
            flags: next()?,
            result: next()?,
        },
        6 => CallKind::Brk { requested: next()?, result: next()? },
        7 => CallKind::Madvise { address: next()?, length: next()?, advice: next()? },
        8 => CallKind::Mlock { address: next()?, length: next()?, flags: next()? },
        9 => CallKind::Munlock { address: next()?, length: next()? },
        10 => CallKind::MlockAll { flags: next()? },
        11 => CallKind::MunlockAll,
        12 => CallKind::Open { fd: next()? as i32, path: input.bytes()? },
        13 => CallKind::Close { fd: next()? as i32 },
        14 => CallKind::Clone {
            kind: if next()? == 0 { CloneKind::Thread } else { CloneKind::Process },
            flags: next()?.checked_sub(1),
            child: input.narrow()?,
        },
        15 => CallKind::Exec,
        16 => CallKind::ExitThread,
        17 => CallKind::ExitProcess,
        18 => CallKind::Other { name: String::from_utf8_lossy(&input.bytes()?).into() },
        _ => return Err(Reason::Damaged("an event of no known kind")),
    })
}
