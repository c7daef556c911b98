//! Vellum's compact form of a trace.
//!
//! ```text
//! file    = magic "VLMTRACE", version u8 = 1, 3 zero bytes, pid u32 (0: unknown), crc32 u32, block*, end
//! block   = 'B', events u64, length u32 × 4, compressed u32, xz stream, crc32 u32
//! end     = 'E', 0 u64,      length u32 × 4, compressed u32, xz stream, crc32 u32; nothing follows
//! ```
//!
//! All numbers are little-endian. A checksum (CRC-32) covers everything before it in its header or
//! block. The xz stream holds four byte streams one behind the other, of the given lengths:
//!
//! 1. **steps**: in turn, the number of accesses that came as first guessed, and a step byte for the
//!    one event that did not, until the block's events are complete. Step 0: kind and size came as
//!    guessed, the address did not; 1 to 4: an execute, load, store or modify that did not come as
//!    guessed; 5: an event that is no access; 6: the second guess was right; 7: as 0.
//! 2. **fetches**: where instructions were fetched from (steps 0, 1 and 7).
//! 3. **addresses**: where data was accessed (steps 0, 2, 3, 4 and 7).
//! 4. **rest**: the sizes (steps 1 to 4), and the events of step 5: a tag and the fields.
//!
//! A fetch is counted from the end of the one before, data from the latest data access, and step 7
//! from the address that was accessed at the same point of the program before. Numbers inside the
//! streams take seven bits a byte, the lowest first; differences are signed, with the sign in bit 0.
//! Writer and reader make the same guesses, from what they have seen over all blocks; they are
//! defined in `predict.rs`. The end's rest stream holds four numbers: failed calls, unpaired calls,
//! the [`ThreadSource`] (0 none, 1 syscalls, 2 schedule), and 1 if the log lacked its footer.

use super::blocks::{Block, BlockKind, STREAM_BYTES_MAX, STREAMS, checksum, read_block, read_exact, write_block};
use super::error::Reason;
use super::event::{Access, AccessKind, Event, Summary, ThreadSource};
use super::event_codec::{Cursor, get_event, put, put_difference, put_event};
use super::predict::{Guess, Predictor};
use std::io::{self, Read, Write};

/// How a compact trace begins.
pub(super) const MAGIC: &[u8; 8] = b"VLMTRACE";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 20;

/// A block is written once a stream is this long; an event never takes a stream beyond its bound.
const STREAM_BYTES_FULL: usize = 2 << 20;
const _: () = assert!(STREAM_BYTES_FULL + (1 << 17) < STREAM_BYTES_MAX as usize);

const STEPS: usize = 0;
const FETCHES: usize = 1;
const ADDRESSES: usize = 2;
const REST: usize = 3;

const STEP_SHAPE: u8 = 0;
const STEP_KIND: u8 = 1;
const STEP_EVENT: u8 = 5;
const STEP_SECOND: u8 = 6;
const STEP_SHAPE_SEEN: u8 = 7;

/// Writes a compact trace. Without [`CompactWriter::finish`] it stays cut.
pub struct CompactWriter<W: Write> {
    output: W,
    predictor: Predictor,
    streams: [Vec<u8>; STREAMS],
    events: u64,
    guessed: u64,
    bytes: u64,
}

impl<W: Write> CompactWriter<W> {
    /// Begins the trace of process `pid`, if it is known.
    pub fn new(mut output: W, pid: Option<u32>) -> io::Result<CompactWriter<W>> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&[VERSION, 0, 0, 0]);
        header.extend_from_slice(&pid.unwrap_or(0).to_le_bytes());
        header.extend_from_slice(&checksum(&[&header]).to_le_bytes());
        output.write_all(&header)?;
        let (predictor, streams) = (Predictor::new(), Default::default());
        Ok(CompactWriter { output, predictor, streams, events: 0, guessed: 0, bytes: header.len() as u64 })
    }

    /// Appends an event.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Access(access) => self.write_access(*access),
            event => {
                self.step(STEP_EVENT);
                put_event(&mut self.streams[REST], event);
            }
        }
        self.events += 1;
        if self.streams.iter().any(|stream| stream.len() >= STREAM_BYTES_FULL) {
            self.flush_block()?;
        }
        Ok(())
    }

    #[inline]
    fn write_access(&mut self, access: Access) {
        let guess = self.predictor.guess();
        if access == guess.first {
            self.guessed += 1;
        } else if access == guess.second {
            self.step(STEP_SECOND);
        } else {
            self.write_address(access, guess);
        }
        self.predictor.learn(access);
    }

    /// Writes an access that was not guessed, counted from the nearer of its bases.
    fn write_address(&mut self, access: Access, guess: Guess) {
        let (near, seen) = (self.predictor.base(access.kind), self.predictor.seen_here());
        let is_shape_guessed = (access.kind, access.size) == (guess.first.kind, guess.first.size);
        let base = if !is_shape_guessed {
            self.step(STEP_KIND + access.kind as u8);
            put(&mut self.streams[REST], u64::from(access.size));
            near
        } else if difference(access.address, near) <= difference(access.address, seen) {
            self.step(STEP_SHAPE);
            near
        } else {
            self.step(STEP_SHAPE_SEEN);
            seen
        };
        put_difference(&mut self.streams[address_stream(access.kind)], access.address, base);
    }

    fn step(&mut self, step: u8) {
        put(&mut self.streams[STEPS], std::mem::take(&mut self.guessed));
        self.streams[STEPS].push(step);
    }

    fn flush_block(&mut self) -> io::Result<()> {
        put(&mut self.streams[STEPS], std::mem::take(&mut self.guessed));
        let events = std::mem::take(&mut self.events);
        self.write_block(BlockKind::Events, events)
    }

    fn write_block(&mut self, kind: BlockKind, events: u64) -> io::Result<()> {
        let block = Block { kind, events, streams: std::mem::take(&mut self.streams) };
        self.bytes += write_block(&mut self.output, &block)?;
        Ok(())
    }

    /// Ends the trace with what the reader of the original says of it; returns the length in bytes.
    pub fn finish(mut self, summary: &Summary, lacks_footer: bool) -> io::Result<u64> {
        if self.events > 0 {
            self.flush_block()?;
        }
        let source = match summary.thread_source {
            ThreadSource::None => 0,
            ThreadSource::Syscalls => 1,
            ThreadSource::Schedule => 2,
        };
        for value in [summary.failed_calls, summary.unpaired_calls, source, u64::from(lacks_footer)] {
            put(&mut self.streams[REST], value);
        }
        self.write_block(BlockKind::End, 0)?;
        self.output.flush()?;
        Ok(self.bytes)
    }
}

/// How far apart two addresses are.
fn difference(to: u64, from: u64) -> u64 {
    (to.wrapping_sub(from) as i64).unsigned_abs()
}

/// The stream for the addresses of accesses of this kind.
#[inline]
fn address_stream(kind: AccessKind) -> usize {
    if kind == AccessKind::Execute { FETCHES } else { ADDRESSES }
}

/// Reads a compact trace.
pub(super) struct CompactReader {
    input: Box<dyn Read + Send>,
    pid: u32,
    predictor: Predictor,
    streams: [Cursor; STREAMS],
    /// Events left in the block, and how many of them come as guessed before the next step.
    events: u64,
    guessed: u64,
    block: u64,
    tids: std::collections::HashSet<u32>,
    summary: Summary,
    lacks_footer: bool,
    is_finished: bool,
}

impl CompactReader {
    /// Begins to read; the input stands at the magic.
    pub fn new(mut input: Box<dyn Read + Send>) -> Result<CompactReader, Reason> {
        let mut header = [0; HEADER_BYTES];
        read_exact(&mut *input, &mut header)?;
        let [.., p0, p1, p2, p3, s0, s1, s2, s3] = header;
        if &header[..MAGIC.len()] != MAGIC {
            return Err(Reason::UnknownFormat);
        }
        if header[8] != VERSION {
            return Err(Reason::UnknownVersion(header[8]));
        }
        if checksum(&[&header[..HEADER_BYTES - 4]]) != u32::from_le_bytes([s0, s1, s2, s3]) {
            return Err(Reason::Damaged("the checksum of the header is wrong"));
        }
        Ok(CompactReader {
            input,
            pid: u32::from_le_bytes([p0, p1, p2, p3]),
            predictor: Predictor::new(),
            streams: Default::default(),
            events: 0,
            guessed: 0,
            block: 0,
            tids: Default::default(),
            summary: Summary::default(),
            lacks_footer: false,
            is_finished: false,
        })
    }

    pub fn block(&self) -> u64 {
        self.block
    }

    pub fn pid(&self) -> Option<u32> {
        (self.pid != 0).then_some(self.pid)
    }

    pub fn summary(&self) -> Summary {
        self.summary
    }

    pub fn lacks_footer(&self) -> bool {
        self.lacks_footer
    }

    #[inline]
    pub fn next_event(&mut self) -> Result<Option<Event>, Reason> {
        while self.events == 0 {
            if self.is_finished || !self.next_block()? {
                return Ok(None);
            }
        }
        self.events -= 1;
        if self.guessed > 0 {
            self.guessed -= 1;
            let access = self.predictor.guess().first;
            return self.take_access(access);
        }
        let step = self.streams[STEPS].byte()?;
        if step == STEP_EVENT {
            let event = get_event(&mut self.streams[REST])?;
            self.take_guessed()?;
            return self.count(event).map(Some);
        }
        let access = self.read_access(step)?;
        self.take_guessed()?;
        self.take_access(access)
    }

    #[inline]
    fn read_access(&mut self, step: u8) -> Result<Access, Reason> {
        let guess = self.predictor.guess();
        let (kind, size) = match step {
            STEP_SECOND => return Ok(guess.second),
            STEP_SHAPE | STEP_SHAPE_SEEN => (guess.first.kind, guess.first.size),
            _ => {
                let kind = AccessKind::ALL.get(usize::from(step - STEP_KIND));
                let kind = *kind.ok_or(Reason::Damaged("a step of no known kind"))?;
                let size = self.streams[REST].number()?;
                (kind, Access::checked(kind, 0, size)?.size)
            }
        };
        let is_from_seen = step == STEP_SHAPE_SEEN;
        let base = if is_from_seen { self.predictor.seen_here() } else { self.predictor.base(kind) };
        let address = self.streams[address_stream(kind)].address(base)?;
        Ok(Access { kind, size, address })
    }

    #[inline]
    fn take_access(&mut self, access: Access) -> Result<Option<Event>, Reason> {
        self.predictor.learn(access);
        self.summary.accesses += 1;
        Access::checked(access.kind, access.address, u64::from(access.size)).map(|access| Some(Event::Access(access)))
    }

    /// Reads how many events come as guessed now.
    #[inline]
    fn take_guessed(&mut self) -> Result<(), Reason> {
        self.guessed = self.streams[STEPS].number()?;
        if self.guessed > self.events {
            return Err(Reason::Damaged("more events than the block holds"));
        }
        Ok(())
    }

    #[inline]
    fn count(&mut self, event: Event) -> Result<Event, Reason> {
        const THREADS_MAX: usize = 65_536;
        match &event {
            Event::Call(_) => self.summary.calls += 1,
            Event::Thread { tid, .. } => {
                self.summary.threads += u64::from(self.tids.insert(*tid));
                if self.tids.len() > THREADS_MAX {
                    return Err(Reason::TooManyThreads);
                }
            }
            Event::Access(_) => {}
        }
        Ok(event)
    }

    /// Takes the next block; whether there was one before the end.
    fn next_block(&mut self) -> Result<bool, Reason> {
        if !self.streams.iter().all(Cursor::is_at_end) {
            return Err(Reason::Damaged("bytes are left over in a block"));
        }
        self.block += 1;
        let block = read_block(&mut *self.input)?;
        self.events = block.events;
        self.streams = block.streams.map(Cursor::new);
        if block.kind == BlockKind::Events {
            self.take_guessed()?;
            return Ok(true);
        }
        self.read_end()?;
        Ok(false)
    }

    fn read_end(&mut self) -> Result<(), Reason> {
        let rest = &mut self.streams[REST];
        self.summary.failed_calls = rest.number()?;
        self.summary.unpaired_calls = rest.number()?;
        self.summary.thread_source = match rest.number()? {
            0 => ThreadSource::None,
            1 => ThreadSource::Syscalls,
            2 => ThreadSource::Schedule,
            _ => return Err(Reason::Damaged("threads of no known source")),
        };
        self.lacks_footer = rest.number()? != 0;
        if self.events != 0 || self.input.read(&mut [0])? != 0 {
            return Err(Reason::Damaged("something follows the end"));
        }
        if self.summary.accesses == 0 {
            return Err(Reason::NoAccess);
        }
        self.is_finished = true;
        Ok(())
    }
}
