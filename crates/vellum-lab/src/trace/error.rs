//! Why a trace cannot be read: one line with the file, the place and the reason.

use std::fmt;
use std::io;

/// A trace that cannot be read. Its display is one line: file, place, reason.
#[derive(Debug)]
pub struct TraceError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    file: String,
    place: Place,
    reason: Reason,
}

impl TraceError {
    pub(super) fn new(file: &str, place: Place, reason: Reason) -> TraceError {
        TraceError(Box::new(Inner { file: one_line(file.as_bytes()), place, reason }))
    }

    /// The file's name as it was given; `standard input` for `-`.
    pub fn file(&self) -> &str {
        &self.0.file
    }

    /// Where in the file.
    pub fn place(&self) -> Place {
        self.0.place
    }

    /// What is wrong.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.place {
            Place::File => write!(f, "{}: {}", self.0.file, self.0.reason),
            Place::Line(line) => write!(f, "{}: line {line}: {}", self.0.file, self.0.reason),
            Place::Block(block) => write!(f, "{}: block {block}: {}", self.0.file, self.0.reason),
        }
    }
}

impl std::error::Error for TraceError {}

/// A place in a trace file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A line of a log.
    Line(u64),
    /// A block of a compact trace.
    Block(u64),
}

/// What is wrong with a trace.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// Opening or reading failed; cut or damaged compression shows here too.
    Io(io::Error),
    /// The file holds no byte.
    Empty,
    /// The file is neither a lackey log nor a compact trace.
    UnknownFormat,
    /// The trace ends without one access.
    NoAccess,
    /// The last line has no line end.
    CutLine,
    /// A line is longer than a log's can be.
    LongLine,
    /// A line that is no lackey record (its beginning).
    NotALackeyLine(String),
    /// A line that begins as an access and is none (its beginning).
    MalformedAccess(String),
    /// An access of no or too many bytes.
    BadSize {
        /// The size read.
        size: u64,
    },
    /// An access that runs past the end of the address space.
    Wraps {
        /// The first byte's address.
        address: u64,
        /// The number of bytes.
        size: u64,
    },
    /// An access outside the canonical addresses of x86-64.
    NonCanonical {
        /// The first byte's address.
        address: u64,
        /// The number of bytes.
        size: u64,
    },
    /// A successful call whose arguments cannot be read (the beginning of its text).
    MalformedCall(String),
    /// More threads or unfinished calls than a program has.
    TooManyThreads,
    /// Lines of several processes in one file.
    SeveralProcesses {
        /// The process to which the file belongs.
        first: u32,
        /// Another one that wrote to it.
        other: u32,
    },
    /// An unreadable line (its beginning) in a log that has seen a fork: two processes wrote at once.
    Shredded {
        /// The forked child.
        child: u32,
        /// The beginning of the line.
        text: String,
    },
    /// A compact trace of a version that this program does not read.
    UnknownVersion(u8),
    /// A compact trace that ends before its end mark.
    Cut,
    /// A compact trace whose checksum or content is wrong.
    Damaged(&'static str),
    /// A child's stream was asked for, and this trace has no file name to look beside.
    NoSiblings {
        /// The child whose stream was asked for.
        child: u32,
    },
    /// A child's stream is not there.
    NoChild {
        /// The child whose stream was asked for.
        child: u32,
    },
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Reason {
        Reason::Io(error)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Io(error) => f.write_str(&one_line(io_text(error).as_bytes())),
            Reason::Empty => f.write_str("the file is empty"),
            Reason::UnknownFormat => f.write_str("neither a lackey log nor a compact trace"),
            Reason::NoAccess => f.write_str("no access in the whole trace (was it made with --trace-mem=yes?)"),
            Reason::CutLine => f.write_str("the last line is cut: it has no line end"),
            Reason::LongLine => f.write_str("the line is too long for a lackey log"),
            Reason::NotALackeyLine(text) => write!(
                f,
                "not a line of a lackey log: “{text}” (--log-file=NAME.%p keeps the program's own output out)"
            ),
            Reason::MalformedAccess(text) => write!(f, "malformed access “{text}”"),
            Reason::BadSize { size } => write!(f, "access of {size} bytes (1 to 4096 are possible)"),
            Reason::Wraps { address, size } => {
                write!(f, "access of {size} bytes at {address:#x} wraps around the address space")
            }
            Reason::NonCanonical { address, size } => {
                write!(f, "access of {size} bytes at {address:#x} is not canonical")
            }
            Reason::MalformedCall(text) => write!(f, "cannot read the call “{text}”"),
            Reason::TooManyThreads => f.write_str("too many threads"),
            Reason::SeveralProcesses { first, other } => write!(
                f,
                "processes {first} and {other} wrote into one log; record with --log-file=NAME.%p, one file a process"
            ),
            Reason::Shredded { child, text } => {
                write!(
                    f,
                    "unreadable line “{text}”: the forked process {child} seems to write into this log too; record with --log-file=NAME.%p, one file a process"
                )
            }
            Reason::UnknownVersion(version) => {
                write!(f, "compact trace of version {version}; this program reads version 1")
            }
            Reason::Cut => f.write_str("the compact trace is cut: its end is missing"),
            Reason::Damaged(what) => write!(f, "the compact trace is damaged: {what}"),
            Reason::NoSiblings { child } => {
                write!(f, "the stream of the forked child {child} cannot be found beside standard input; name a file")
            }
            Reason::NoChild { child } => write!(f, "the stream of the forked child {child} is missing"),
        }
    }
}

/// The text of an error; the operating system's number is left out.
fn io_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "is a directory".into(),
        io::ErrorKind::UnexpectedEof => "the compressed data is cut".into(),
        _ => error.to_string(),
    }
}

/// Text of unknown origin, on one line and without control characters.
fn one_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The beginning of a line, fit to be quoted in a message.
pub(super) fn excerpt(line: &[u8]) -> String {
    const EXCERPT_BYTES: usize = 60;
    let shown = one_line(&line[..line.len().min(EXCERPT_BYTES)]);
    if line.len() > EXCERPT_BYTES { shown + "…" } else { shown }
}
