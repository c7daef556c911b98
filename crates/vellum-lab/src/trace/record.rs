//! Records a trace of a real program with valgrind's lackey.

use super::compact::CompactWriter;
use super::error::TraceError;
use super::event::{CallKind, CloneKind, Event, Summary, Warning};
use super::input::{TraceReader, child_path};
use super::scrub::Scrubber;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// What to record, and where to.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// The file for the program's trace. That of a forked child goes beside it, to `OUTPUT.CHILD`.
    pub output: PathBuf,
    /// The program; it is looked up in `PATH`.
    pub program: OsString,
    /// The program's arguments.
    pub arguments: Vec<OsString>,
    /// Puts neutral names for paths and process numbers (see [`Scrubber`]). On at first.
    pub is_scrubbed: bool,
    /// The valgrind to run; at first `valgrind`, looked up in `PATH`.
    pub valgrind: OsString,
}

impl RecordOptions {
    /// Records `program` with `arguments` into `output`, scrubbed.
    pub fn new(output: impl Into<PathBuf>, program: impl Into<OsString>, arguments: Vec<OsString>) -> RecordOptions {
        RecordOptions {
            output: output.into(),
            program: program.into(),
            arguments,
            is_scrubbed: true,
            valgrind: "valgrind".into(),
        }
    }
}

/// What was recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The files written, the program's own first, then those of its forked children.
    pub files: Vec<RecordedFile>,
    /// How the program ended.
    pub status: ExitStatus,
}

/// A file that was written.
#[derive(Clone, Debug)]
pub struct RecordedFile {
    /// Where it is.
    pub path: PathBuf,
    /// The process's number in the trace: 1 for the program itself where it is scrubbed.
    pub pid: u32,
    /// What it holds.
    pub summary: Summary,
    /// What was odd.
    pub warnings: Vec<Warning>,
    /// The file's length.
    pub bytes: u64,
}

/// Why nothing was recorded. Its display is one line.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordError {
    /// There is no valgrind.
    NoValgrind(OsString),
    /// Valgrind cannot be started.
    Start(io::Error),
    /// Valgrind ended without a log: it could not run the program.
    NoLog {
        /// The program.
        program: OsString,
        /// How valgrind ended.
        status: ExitStatus,
    },
    /// The log cannot be read.
    Trace(TraceError),
    /// A file cannot be written.
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::NoValgrind(name) => {
                write!(f, "{}: not found; install the package “valgrind” to record traces", name.display())
            }
            RecordError::Start(error) => write!(f, "valgrind cannot be started: {error}"),
            RecordError::NoLog { program, status } => {
                write!(f, "{}: valgrind could not run the program ({status})", program.display())
            }
            RecordError::Trace(error) => error.fmt(f),
            RecordError::Write { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for RecordError {}

impl From<TraceError> for RecordError {
    fn from(error: TraceError) -> RecordError {
        RecordError::Trace(error)
    }
}

/// Runs a program under valgrind's lackey and writes its trace in the compact form.
///
/// The program keeps the standard streams. Its raw logs (about 15 bytes an access) are kept beside
/// the output while it runs, and removed at the end. What `execve` starts is not recorded.
///
/// The command `vellum record -o FILE -- PROGRAM ARGS…` calls it like this:
///
/// ```no_run
/// use vellum_lab::trace::{RecordOptions, record};
///
/// let options = RecordOptions::new("sort.vtrace", "sort", vec!["words".into()]);
/// match record(&options) {
///     Ok(recording) => {
///         for file in &recording.files {
///             eprintln!("{}: {} accesses, {} bytes", file.path.display(), file.summary.accesses, file.bytes);
///             file.warnings.iter().for_each(|warning| eprintln!("{}: {warning}", file.path.display()));
///         }
///         std::process::exit(i32::from(!recording.status.success())); // 1 if the program failed
///     }
///     Err(error) => {
///         eprintln!("vellum: {error}");
///         std::process::exit(2);
///     }
/// }
/// ```
pub fn record(options: &RecordOptions) -> Result<Recording, RecordError> {
    let logs = LogFolder::create(&options.output)?;
    let (root, status) = run_lackey(options, &logs)?;
    if !logs.log(root).is_file() {
        return Err(RecordError::NoLog { program: options.program.clone(), status });
    }
    let mut conversion =
        Conversion { logs, scrubber: options.is_scrubbed.then(Scrubber::new), waiting: VecDeque::from([root]) };
    let written_root = conversion.written_pid(root);
    let mut files = Vec::new();
    while let Some(pid) = conversion.waiting.pop_front() {
        let path = match pid {
            _ if pid == root => options.output.clone(),
            _ => child_path(&options.output, Some(written_root), conversion.written_pid(pid)),
        };
        files.push(conversion.convert(pid, path)?);
    }
    Ok(Recording { files, status })
}

/// Runs the program to its end; returns its process number and how it ended.
fn run_lackey(options: &RecordOptions, logs: &LogFolder) -> Result<(u32, ExitStatus), RecordError> {
    let mut child = Command::new(&options.valgrind)
        .args(["--tool=lackey", "--trace-mem=yes", "--trace-syscalls=yes", "--trace-sched=yes"])
        .arg(logs.log_option())
        .arg(&options.program)
        .args(&options.arguments)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RecordError::NoValgrind(options.valgrind.clone()),
            _ => RecordError::Start(error),
        })?;
    // Valgrind becomes the program without a new process, so this is the program's number as well.
    let pid = child.id();
    let status = child.wait().map_err(RecordError::Start)?;
    Ok((pid, status))
}

/// The logs of a recording on their way to the compact form.
struct Conversion {
    logs: LogFolder,
    scrubber: Option<Scrubber>,
    /// Processes that were seen to be forked.
    waiting: VecDeque<u32>,
}

impl Conversion {
    /// The number by which the written trace calls a process.
    fn written_pid(&mut self, pid: u32) -> u32 {
        self.scrubber.as_mut().map_or(pid, |scrubber| scrubber.task(pid))
    }

    fn convert(&mut self, pid: u32, path: PathBuf) -> Result<RecordedFile, RecordError> {
        let mut reader = TraceReader::open(&self.logs.log(pid))?;
        let written_pid = self.written_pid(pid);
        // Written beside its place first: nobody sees half a trace.
        let draft = self.logs.folder.join("draft");
        let fail = |error| RecordError::Write { path: path.clone(), error };
        let file = BufWriter::new(File::create(&draft).map_err(fail)?);
        let mut writer = CompactWriter::new(file, Some(written_pid)).map_err(fail)?;
        while let Some(event) = reader.next_event()? {
            let event = self.take(event);
            writer.write(&event).map_err(fail)?;
        }
        let summary = reader.summary();
        let bytes = writer.finish(&summary, reader.lacks_footer()).map_err(fail)?;
        fs::rename(&draft, &path).map_err(fail)?;
        let _ = fs::remove_file(self.logs.log(pid)); // The folder goes at the end in any case.
        Ok(RecordedFile { warnings: reader.warnings(), path, pid: written_pid, summary, bytes })
    }

    /// Notes forked processes, and scrubs the event.
    fn take(&mut self, event: Event) -> Event {
        if let Event::Call(call) = &event
            && let CallKind::Clone { kind: CloneKind::Process, child, .. } = call.kind
            && self.logs.log(child).is_file()
            && !self.waiting.contains(&child)
        {
            self.waiting.push_back(child);
        }
        match &mut self.scrubber {
            Some(scrubber) => scrubber.scrub(event),
            None => event,
        }
    }
}

/// The folder for the raw logs; it goes with everything in it.
struct LogFolder {
    folder: PathBuf,
}

impl LogFolder {
    fn create(output: &Path) -> Result<LogFolder, RecordError> {
        let mut name = output.as_os_str().to_os_string();
        name.push(format!(".logs-{}", std::process::id()));
        let folder = PathBuf::from(name);
        match fs::create_dir(&folder) {
            Ok(()) => Ok(LogFolder { folder }),
            Err(error) => Err(RecordError::Write { path: output.into(), error }),
        }
    }

    /// The log of a process.
    fn log(&self, pid: u32) -> PathBuf {
        self.folder.join(format!("log.{pid}"))
    }

    /// Valgrind's option; a `%` in the path stands for itself.
    fn log_option(&self) -> OsString {
        let path = self.folder.as_os_str().as_bytes();
        let mut option = b"--log-file=".to_vec();
        for byte in path {
            option.extend(std::iter::repeat_n(*byte, if *byte == b'%' { 2 } else { 1 }));
        }
        option.extend_from_slice(b"/log.%p");
        OsString::from_vec(option)
    }
}

impl Drop for LogFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
