//! Unpacks files of zstd, which consist of frames.

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, BufReader, Read};

/// Bytes unpacked at a time, at least.
const STEP_BYTES: usize = 128 << 10;

/// The contents of all frames, one after the other.
pub(super) struct ZstdFrames<R> {
    input: BufReader<R>,
    frame: FrameDecoder,
    is_within: bool,
}

impl<R: Read> ZstdFrames<R> {
    pub(super) fn new(input: R) -> ZstdFrames<R> {
        ZstdFrames { input: BufReader::new(input), frame: FrameDecoder::new(), is_within: false }
    }

    /// Begins the next frame with contents; false at the end of the input.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.frame.reset(&mut self.input) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut (&mut self.input).take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for ZstdFrames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !into.is_empty() {
            if !self.is_within {
                self.is_within = self.begin()?;
                if !self.is_within {
                    return Ok(0);
                }
            }
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                let step = BlockDecodingStrategy::UptoBytes(STEP_BYTES);
                self.frame.decode_blocks(&mut self.input, step).map_err(io::Error::other)?;
            }
            match self.frame.read(into)? {
                0 => self.is_within = false,
                bytes => return Ok(bytes),
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    #[test]
    fn frames_follow_each_other() {
        let texts = [vec![b'a'; 300_000], b"second".to_vec(), Vec::new(), (0..100_000u32).map(|n| n as u8).collect()];
        let mut packed = Vec::new();
        for text in &texts {
            packed.extend(compress_to_vec(&text[..], CompressionLevel::Fastest));
            // A frame to be skipped, of three bytes.
            packed.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9]);
        }
        let mut unpacked = Vec::new();
        ZstdFrames::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == texts.concat());
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let packed = compress_to_vec(&b"something that is long enough"[..], CompressionLevel::Fastest);
        for length in 1..packed.len() {
            assert!(ZstdFrames::new(&packed[..length]).read_to_end(&mut Vec::new()).is_err(), "{length}");
        }
    }
}
