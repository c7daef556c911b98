//! Traces of real programs: reading, writing and recording them.
//!
//! A trace is one totally ordered stream of [`Event`]s of one process. It comes from a log of
//! `valgrind --tool=lackey --trace-mem=yes --trace-syscalls=yes [--trace-sched=yes]`, or from
//! Vellum's own [compact form](compact), either of them plain or under gzip, xz or zstd;
//! [`TraceReader::open`] tells them apart by content. [`record()`] makes a compact trace of a program.
//!
//! ```
//! use vellum_lab::trace::{Event, TraceReader};
//!
//! let log = "==7== Lackey, an example Valgrind tool\nI  00401000,3\n S 1fff000778,8\n==7== Exit code:       0\n";
//! let mut trace = TraceReader::from_reader("example", Box::new(log.as_bytes()))?;
//! let mut stores = 0;
//! while let Some(event) = trace.next_event()? {
//!     if let Event::Access(access) = event {
//!         stores += u32::from(access.kind.is_write());
//!     }
//! }
//! assert_eq!(stores, 1);
//! assert_eq!(trace.summary().accesses, 2);
//! # Ok::<(), vellum_lab::trace::TraceError>(())
//! ```

mod blocks;
mod call_text;
pub mod compact;
mod error;
mod event;
mod event_codec;
mod input;
mod lackey;
mod lines;
mod predict;
mod record;
mod scrub;
mod zstd;

pub use compact::CompactWriter;
pub use error::{Place, Reason, TraceError};
pub use event::{Access, AccessKind, Call, CallKind, CloneKind, Event, Summary, ThreadSource, Warning, file_identity};
pub use input::{TraceFormat, TraceReader};
pub use record::{RecordError, RecordOptions, RecordedFile, Recording, record};
pub use scrub::Scrubber;
