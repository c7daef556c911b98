//! Opens a trace of either form, plain or compressed, and finds a forked child's beside it.

use super::compact::{CompactReader, MAGIC};
use super::error::{Place, Reason, TraceError};
use super::event::{Event, Summary, Warning};
use super::lackey::LackeyReader;
use super::lines::Lines;
use super::zstd::ZstdFrames;
use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const XZ_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const MAGIC_BYTES_MAX: u64 = 8;
/// The names under which compressed files go.
const SUFFIXES: [&str; 3] = ["gz", "xz", "zst"];
/// Memory that unpacking a foreign file may take; `xz -9` takes 65 MiB.
const UNPACK_BYTES_MAX: u64 = 256 << 20;

type Input = Box<dyn Read + Send>;

/// The form of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceFormat {
    /// A log of valgrind's lackey.
    Lackey,
    /// Vellum's [compact form](super::compact).
    Compact,
}

/// Reads the events of one process from a trace of either form.
///
/// After an error, and after the end, there are no more events.
pub struct TraceReader {
    name: String,
    path: Option<PathBuf>,
    source: Source,
    has_failed: bool,
}

enum Source {
    Lackey(Box<LackeyReader>),
    Compact(Box<CompactReader>),
}

impl TraceReader {
    /// Opens a file, or standard input for `-`.
    pub fn open(path: &Path) -> Result<TraceReader, TraceError> {
        if path.as_os_str() == "-" {
            return TraceReader::from_reader("standard input", Box::new(io::stdin()));
        }
        let name = path.to_string_lossy();
        let file = File::open(path).map_err(|error| TraceError::new(&name, Place::File, error.into()))?;
        let mut reader = TraceReader::from_reader(&name, Box::new(file))?;
        reader.path = Some(path.into());
        Ok(reader)
    }

    /// Reads from `input`; `name` is for messages.
    pub fn from_reader(name: &str, input: Input) -> Result<TraceReader, TraceError> {
        let source = detect(input).map_err(|reason| TraceError::new(name, Place::File, reason))?;
        Ok(TraceReader { name: name.into(), path: None, source, has_failed: false })
    }

    /// Opens the stream of a process that this one forked: `NAME.CHILD` beside `NAME.PID`, or
    /// `NAME.CHILD` beside `NAME` where the name does not end with the process's own number.
    pub fn open_child(&self, child: u32) -> Result<TraceReader, TraceError> {
        let fail = |reason| TraceError::new(&self.name, Place::File, reason);
        let path = self.path.as_ref().ok_or_else(|| fail(Reason::NoSiblings { child }))?;
        let plain = child_path(path, self.pid(), child);
        let with_suffix = SUFFIXES.map(|suffix| append(&plain, suffix));
        let found = std::iter::once(&plain).chain(&with_suffix).find(|path| path.is_file());
        TraceReader::open(found.ok_or_else(|| fail(Reason::NoChild { child }))?)
    }

    /// The next event, or `None` at the end.
    #[inline]
    pub fn next_event(&mut self) -> Result<Option<Event>, TraceError> {
        if self.has_failed {
            return Ok(None);
        }
        let result = match &mut self.source {
            Source::Lackey(reader) => reader.next_event(),
            Source::Compact(reader) => reader.next_event(),
        };
        result.map_err(|reason| self.fail(reason))
    }

    #[cold]
    fn fail(&mut self, reason: Reason) -> TraceError {
        self.has_failed = true;
        let place = self.place();
        match reason {
            Reason::NotALackeyLine(_) | Reason::LongLine if place == Place::Line(1) => {
                TraceError::new(&self.name, Place::File, Reason::UnknownFormat)
            }
            Reason::Empty | Reason::NoAccess => TraceError::new(&self.name, Place::File, reason),
            reason => TraceError::new(&self.name, place, reason),
        }
    }

    /// Where the event read last stands.
    pub fn place(&self) -> Place {
        match &self.source {
            Source::Lackey(reader) => Place::Line(reader.line()),
            Source::Compact(reader) => Place::Block(reader.block()),
        }
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The form that was detected.
    pub fn format(&self) -> TraceFormat {
        match self.source {
            Source::Lackey(_) => TraceFormat::Lackey,
            Source::Compact(_) => TraceFormat::Compact,
        }
    }

    /// The number of the traced process, once it is known.
    pub fn pid(&self) -> Option<u32> {
        match &self.source {
            Source::Lackey(reader) => reader.pid(),
            Source::Compact(reader) => reader.pid(),
        }
    }

    /// What has been read so far.
    pub fn summary(&self) -> Summary {
        match &self.source {
            Source::Lackey(reader) => reader.summary(),
            Source::Compact(reader) => reader.summary(),
        }
    }

    /// Whether the log was seen to end without valgrind's footer.
    pub(super) fn lacks_footer(&self) -> bool {
        match &self.source {
            Source::Lackey(reader) => reader.lacks_footer(),
            Source::Compact(reader) => reader.lacks_footer(),
        }
    }

    /// What was odd; complete at the trace's end.
    pub fn warnings(&self) -> Vec<Warning> {
        let summary = self.summary();
        let missing_footer = self.lacks_footer().then_some(Warning::MissingFooter);
        let approximate = summary.has_approximate_threads().then_some(Warning::ApproximateThreads);
        let unpaired = summary.unpaired_calls;
        let unpaired = (unpaired > 0).then_some(Warning::UnpairedCalls(unpaired));
        [missing_footer, approximate, unpaired].into_iter().flatten().collect()
    }
}

/// The file in which the stream of `child` lies, beside that of process `pid` at `path`.
pub(super) fn child_path(path: &Path, pid: Option<u32>, child: u32) -> PathBuf {
    let is_compressed = path.extension().is_some_and(|extension| SUFFIXES.iter().any(|suffix| extension == *suffix));
    let path = if is_compressed { path.with_extension("") } else { path.to_path_buf() };
    let own = pid.map(|pid| OsString::from(pid.to_string()));
    let base =
        if path.extension().is_some() && path.extension() == own.as_deref() { path.with_extension("") } else { path };
    append(&base, &child.to_string())
}

/// The path with `.` and the suffix behind it.
fn append(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Finds the form by the first bytes, inside the compression if there is one.
fn detect(input: Input) -> Result<Source, Reason> {
    let (head, input) = peek(input)?;
    if head.is_empty() {
        return Err(Reason::Empty);
    }
    let (head, input) = match unpack(&head, input)? {
        Unpacked::Plain(input) => (head, input),
        Unpacked::Compressed(input) => peek(input)?,
    };
    if head == MAGIC {
        return Ok(Source::Compact(Box::new(CompactReader::new(input)?)));
    }
    Ok(Source::Lackey(Box::new(LackeyReader::new(Lines::new(input)))))
}

enum Unpacked {
    Plain(Input),
    Compressed(Input),
}

fn unpack(head: &[u8], input: Input) -> Result<Unpacked, Reason> {
    let unpacked: Input = if head.starts_with(GZIP_MAGIC) {
        Box::new(MultiGzDecoder::new(input))
    } else if head.starts_with(XZ_MAGIC) {
        let stream = Stream::new_stream_decoder(UNPACK_BYTES_MAX, CONCATENATED).map_err(io::Error::from)?;
        Box::new(XzDecoder::new_stream(input, stream))
    } else if head.starts_with(ZSTD_MAGIC) {
        Box::new(ZstdFrames::new(input))
    } else {
        return Ok(Unpacked::Plain(input));
    };
    Ok(Unpacked::Compressed(unpacked))
}

/// The first bytes, and an input that begins with them again.
fn peek(mut input: Input) -> Result<(Vec<u8>, Input), Reason> {
    let mut head = Vec::new();
    (&mut input).take(MAGIC_BYTES_MAX).read_to_end(&mut head)?;
    let whole = Cursor::new(head.clone()).chain(input);
    Ok((head, Box::new(whole)))
}
