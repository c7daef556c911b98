//! The framing of the compact form: blocks of compressed bytes, each with a checksum.

use super::error::Reason;
use flate2::Crc;
use liblzma::read::XzDecoder;
use liblzma::stream::{Check, Stream};
use std::io::{Read, Write};

/// The number of byte streams in a block.
pub(super) const STREAMS: usize = 4;
/// No stream of a block is longer than this.
pub(super) const STREAM_BYTES_MAX: u32 = 8 << 20;

const HEADER_BYTES: usize = 1 + 8 + 4 * STREAMS + 4;
const COMPRESSED_BYTES_MAX: u32 = 2 * STREAMS as u32 * STREAM_BYTES_MAX;
const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// Events follow.
    Events = b'B' as isize,
    /// The trace ends here.
    End = b'E' as isize,
}

/// The streams of a block, and the number of events that they make.
pub(super) struct Block {
    pub kind: BlockKind,
    pub events: u64,
    pub streams: [Vec<u8>; STREAMS],
}

/// Writes a block; returns its length in bytes.
pub(super) fn write_block(output: &mut dyn Write, block: &Block) -> std::io::Result<u64> {
    const PRESET: u32 = 6 | 1 << 31; // a dictionary of 8 MiB, “extreme”
    let stream = Stream::new_easy_encoder(PRESET, Check::None).map_err(std::io::Error::from)?;
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.push(block.kind as u8);
    header.extend_from_slice(&block.events.to_le_bytes());
    for stream in &block.streams {
        header.extend_from_slice(&(stream.len() as u32).to_le_bytes());
        encoder.write_all(stream)?;
    }
    let compressed = encoder.finish()?;
    header.extend_from_slice(&(compressed.len() as u32).to_le_bytes());
    output.write_all(&header)?;
    output.write_all(&compressed)?;
    output.write_all(&checksum(&[&header, &compressed]).to_le_bytes())?;
    Ok((header.len() + compressed.len() + 4) as u64)
}

/// Reads a block whose checksum is right. Memory is taken only as the bytes come.
pub(super) fn read_block(input: &mut dyn Read) -> Result<Block, Reason> {
    let mut header = [0; HEADER_BYTES];
    read_exact(input, &mut header)?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let kind = match header[0] {
        b'B' => BlockKind::Events,
        b'E' => BlockKind::End,
        _ => return Err(Reason::Damaged("no block where one should begin")),
    };
    let events = u64::from(word(1)) | u64::from(word(5)) << 32;
    let lengths: [u32; STREAMS] = std::array::from_fn(|index| word(9 + 4 * index));
    let compressed_bytes = word(9 + 4 * STREAMS);
    if lengths.iter().any(|length| *length > STREAM_BYTES_MAX) || compressed_bytes > COMPRESSED_BYTES_MAX {
        return Err(Reason::Damaged("a block longer than blocks can be"));
    }
    let mut compressed = Vec::new();
    input.take(u64::from(compressed_bytes)).read_to_end(&mut compressed)?;
    let mut sum = [0; 4];
    read_exact(input, &mut sum)?;
    if checksum(&[&header, &compressed]) != u32::from_le_bytes(sum) {
        return Err(Reason::Damaged("the checksum is wrong"));
    }
    Ok(Block { kind, events, streams: decompress(&compressed, lengths)? })
}

fn decompress(compressed: &[u8], lengths: [u32; STREAMS]) -> Result<[Vec<u8>; STREAMS], Reason> {
    let stream = Stream::new_stream_decoder(MEMORY_BYTES_MAX, 0).map_err(std::io::Error::from)?;
    let mut decoder = XzDecoder::new_stream(compressed, stream);
    let mut streams: [Vec<u8>; STREAMS] = Default::default();
    for (stream, length) in streams.iter_mut().zip(lengths) {
        let read = (&mut decoder).take(u64::from(length)).read_to_end(stream);
        if !matches!(read, Ok(count) if count == length as usize) {
            return Err(Reason::Damaged("a block does not decompress"));
        }
    }
    Ok(streams)
}

/// Fills the buffer; the end of the input is a cut trace.
pub(super) fn read_exact(input: &mut dyn Read, buffer: &mut [u8]) -> Result<(), Reason> {
    input.read_exact(buffer).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Reason::Cut,
        _ => Reason::Io(error),
    })
}

/// The CRC-32 of the parts one behind the other.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut crc = Crc::new();
    for part in parts {
        crc.update(part);
    }
    crc.sum()
}
