//! Lines out of a byte stream, without an allocation per line and with a bound on their length.

use super::error::Reason;
use std::io::{ErrorKind, Read};

const BUFFER_BYTES: usize = 256 << 10;
/// The longest line taken. Only `Command:` lines grow long, to the kernel's limit of 2 MiB.
const LINE_BYTES_MAX: usize = 4 << 20;

/// A reader of lines.
pub(super) struct Lines {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    number: u64,
}

/// A line, without its line end.
pub(super) struct Line<'a> {
    pub text: &'a [u8],
    pub is_terminated: bool,
}

impl Lines {
    pub fn new(input: Box<dyn Read + Send>) -> Lines {
        Lines { input, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, number: 0 }
    }

    /// The number of the line read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next line, or `None` at the end.
    #[inline]
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, Reason> {
        let mut searched = 0;
        loop {
            let unread = &self.buffer[self.start + searched..self.end];
            if let Some(length) = memchr::memchr(b'\n', unread) {
                let first = self.start;
                let last = first + searched + length;
                self.start = last + 1;
                self.number += 1;
                return Ok(Some(Line { text: &self.buffer[first..last], is_terminated: true }));
            }
            searched = self.end - self.start;
            if self.refill()? == 0 {
                return Ok(self.last_line());
            }
        }
    }

    fn last_line(&mut self) -> Option<Line<'_>> {
        if self.start == self.end {
            return None;
        }
        let first = std::mem::replace(&mut self.start, self.end);
        self.number += 1;
        Some(Line { text: &self.buffer[first..self.end], is_terminated: false })
    }

    /// Moves the unread part to the front and reads behind it; 0 at the end of the input.
    #[cold]
    fn refill(&mut self) -> Result<usize, Reason> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end > LINE_BYTES_MAX {
            self.number += 1;
            return Err(Reason::LongLine);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
