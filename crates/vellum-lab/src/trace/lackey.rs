//! A streaming parser of valgrind's lackey logs. Its memory does not grow with the log.
//!
//! A log is made of records, one a line as a rule:
//!
//! ```text
//! I  0401ab70,3                                              an instruction; also " L", " S", " M"
//! SYSCALL[7,1](11) sys_munmap ( 0x4000, 33 )[sync] --> Success(0x0)        a call and its outcome
//! SYSCALL[7,1](28) sys_madvise ( 0x4000, 33, 4 ) --> [async] ...                  outcome later:
//! SYSCALL[7,1](28) ... [async] --> Success(0x0)
//! --7--   SCHED[2]:  acquired lock (VG_(client_syscall)[async])            thread 2 runs from here
//! ==7== Exit code:       0                                                      valgrind's own
//! ```
//!
//! The outcome of a call may follow on a line of its own (a continuation line, also behind a path
//! that holds a line end), and the next record may be glued behind it.

use super::call_text::{self, Outcome, decimal, hex_digit};
use super::error::{Reason, excerpt};
use super::event::{Access, AccessKind, Call, CallKind, Event, Summary, ThreadSource};
use super::lines::Lines;
use std::collections::{HashMap, HashSet, VecDeque};

/// Bound on threads and on unfinished calls; valgrind's own bound is 500 unless it is raised.
const THREADS_MAX: usize = 65_536;
/// Bound on a call's text over all its lines.
const CALL_BYTES_MAX: usize = 64 << 10;

/// A reader of a lackey log.
pub(super) struct LackeyReader {
    lines: Lines,
    state: State,
    is_finished: bool,
}

/// The call that a `SYSCALL` line is about.
type CallId = (u32, u32, u32);

#[derive(Default)]
struct State {
    ready: VecDeque<Event>,
    pid: Option<u32>,
    tid: u32,
    tids: HashSet<u32>,
    /// A call whose outcome has not been printed: its text up to here.
    open_call: Option<(CallId, Vec<u8>)>,
    /// The latest process that was forked.
    forked: Option<u32>,
    /// Calls under way, with their text.
    pending: HashMap<CallId, Box<[u8]>>,
    summary: Summary,
    has_banner: bool,
    has_footer: bool,
}

impl LackeyReader {
    pub fn new(lines: Lines) -> LackeyReader {
        LackeyReader { lines, state: State::default(), is_finished: false }
    }

    pub fn line(&self) -> u64 {
        self.lines.number()
    }

    pub fn pid(&self) -> Option<u32> {
        self.state.pid
    }

    pub fn summary(&self) -> Summary {
        self.state.summary
    }

    /// Whether the log's end was reached and valgrind's footer was not there.
    pub fn lacks_footer(&self) -> bool {
        self.is_finished && !self.state.has_footer
    }

    #[inline]
    pub fn next_event(&mut self) -> Result<Option<Event>, Reason> {
        loop {
            if let Some(event) = self.state.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(line) = self.lines.next_line()? else {
                return self.finish();
            };
            if line.is_terminated
                && let Some((kind, body)) = access_shape(line.text)
                && let Some(access) = read_access(kind, body)?
            {
                self.state.summary.accesses += 1;
                return Ok(Some(Event::Access(access)));
            }
            let is_terminated = line.is_terminated;
            match self.state.read_line(line.text) {
                Ok(()) if is_terminated || self.state.is_replaced() => {}
                // A foreign file of one line is no log that was cut.
                Err(reason @ Reason::NotALackeyLine(_)) if self.lines.number() == 1 => return Err(reason),
                Err(reason) if is_terminated => return Err(self.state.blame(reason)),
                _ => return Err(Reason::CutLine),
            }
        }
    }

    fn finish(&mut self) -> Result<Option<Event>, Reason> {
        if self.is_finished {
            return Ok(None);
        }
        self.is_finished = true;
        if self.lines.number() == 0 {
            return Err(Reason::Empty);
        }
        if self.state.summary.accesses == 0 {
            return Err(Reason::NoAccess);
        }
        // A program that replaces itself leaves no outcome and no footer.
        if let Some(((_, tid, _), _)) = self.state.open_call.take_if(|(_, text)| call_text::is_exec(text)) {
            self.state.push_call(tid, CallKind::Exec);
        }
        Ok(self.state.ready.pop_front())
    }
}

impl State {
    /// Reads a line that is no plain access, and all the records glued together on it.
    fn read_line(&mut self, mut line: &[u8]) -> Result<(), Reason> {
        while !line.is_empty() {
            line = self.read_record(line)?;
        }
        Ok(())
    }

    /// Reads the first record of the text and returns the rest.
    fn read_record<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], Reason> {
        if text.starts_with(b"==") || text.starts_with(b"--") {
            return self.read_tool_line(text).map(|()| &b""[..]);
        }
        // The scheduler's word on a signal, which it prints without a process number.
        if text.starts_with(b"SCHEDSETJMP(line ") {
            return Ok(b"");
        }
        if let Some(body) = text.strip_prefix(b"SYSCALL[") {
            let (id, text) = call_id(body).ok_or_else(|| Reason::MalformedCall(excerpt(text)))?;
            return self.read_call(id, text);
        }
        if let Some((kind, body)) = access_shape(text) {
            if let Some(access) = read_access(kind, body)? {
                self.summary.accesses += 1;
                self.ready.push_back(Event::Access(access));
                return Ok(b"");
            }
            if self.open_call.is_none() {
                return Err(Reason::MalformedAccess(excerpt(text)));
            }
        }
        self.read_continuation(text)
    }

    fn read_continuation<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], Reason> {
        if let Some((id, mut whole)) = self.open_call.take() {
            if whole.len() + text.len() > CALL_BYTES_MAX {
                return Err(Reason::LongLine);
            }
            let rest = call_text::split_outcome(text).map(|(_, _, rest)| rest);
            whole.push(b'\n');
            whole.extend_from_slice(text);
            self.read_call(id, &whole)?;
            return Ok(rest.unwrap_or(b""));
        }
        // A forked child's log begins within the outcome of the fork.
        if let Some((b"", _, rest)) = call_text::split_outcome(text) {
            return Ok(rest);
        }
        let is_skipped = text.trim_ascii().is_empty() || text.starts_with(b"**") || text.starts_with(b"vex ");
        if is_skipped { Ok(b"") } else { Err(Reason::NotALackeyLine(excerpt(text))) }
    }

    /// Reads a call's text from behind its number; returns what is glued on.
    fn read_call<'a>(&mut self, id: CallId, text: &'a [u8]) -> Result<&'a [u8], Reason> {
        let (pid, tid, number) = id;
        self.check_process(pid)?;
        self.note_thread(tid, ThreadSource::Syscalls)?;
        self.forked = call_text::created_child(text).or(self.forked);
        let Some((head, outcome, rest)) = call_text::split_outcome(text) else {
            self.open_call = Some((id, text.to_vec()));
            return Ok(b"");
        };
        let completed;
        let head = if head.starts_with(b"... [async]") {
            match self.pending.remove(&id) {
                Some(begun) => completed = begun,
                None => {
                    self.summary.unpaired_calls += 1;
                    return Ok(rest);
                }
            }
            &completed[..]
        } else {
            head
        };
        match outcome {
            Outcome::Success(result) => self.push_call(tid, call_text::decode(number, head, result)?),
            Outcome::NoResult => self.push_call(tid, call_text::decode(number, head, 0)?),
            Outcome::Failure => self.summary.failed_calls += 1,
            Outcome::Async => self.begin(id, head)?,
        }
        Ok(rest)
    }

    fn begin(&mut self, id: CallId, text: &[u8]) -> Result<(), Reason> {
        if self.pending.len() >= THREADS_MAX {
            return Err(Reason::TooManyThreads);
        }
        self.pending.insert(id, text.into());
        Ok(())
    }

    fn push_call(&mut self, tid: u32, kind: CallKind) {
        self.summary.calls += 1;
        self.ready.push_back(Event::Call(Box::new(Call { tid, kind })));
    }

    /// Reads a line of valgrind's own: `==PID== …` or `--PID-- …`.
    fn read_tool_line(&mut self, line: &[u8]) -> Result<(), Reason> {
        let digits = line[2..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (pid, rest) = line[2..].split_at(digits);
        let Some(pid) = decimal(pid).and_then(|pid| u32::try_from(pid).ok()) else {
            return Ok(());
        };
        if !rest.starts_with(&line[..2]) {
            return Ok(());
        }
        self.check_process(pid)?;
        let text = rest[2..].trim_ascii_start();
        if text.starts_with(b"Lackey, an example") && std::mem::replace(&mut self.has_banner, true) {
            return Err(Reason::SeveralProcesses { first: pid, other: pid });
        }
        self.has_footer |= text.starts_with(b"Exit code:");
        if let Some(tid) = text.strip_prefix(b"SCHED[").and_then(scheduled_thread) {
            self.note_thread(tid, ThreadSource::Schedule)?;
        }
        Ok(())
    }

    fn check_process(&mut self, pid: u32) -> Result<(), Reason> {
        let first = *self.pid.get_or_insert(pid);
        if first == pid { Ok(()) } else { Err(Reason::SeveralProcesses { first, other: pid }) }
    }

    /// Takes note that `tid` runs; `SYSCALL` lines do not count once there are `SCHED` lines.
    fn note_thread(&mut self, tid: u32, source: ThreadSource) -> Result<(), Reason> {
        let is_exact = source == ThreadSource::Schedule;
        if !is_exact && self.summary.thread_source == ThreadSource::Schedule {
            return Ok(());
        }
        self.summary.thread_source = source;
        if tid == self.tid {
            return Ok(());
        }
        if self.tids.insert(tid) {
            if self.tids.len() > THREADS_MAX {
                return Err(Reason::TooManyThreads);
            }
            self.summary.threads += 1;
        }
        self.tid = tid;
        self.ready.push_back(Event::Thread { tid, is_exact });
        Ok(())
    }

    /// Puts an unreadable line down to a forked process if there is one.
    fn blame(&self, reason: Reason) -> Reason {
        match (reason, self.forked) {
            (
                Reason::NotALackeyLine(text) | Reason::MalformedAccess(text) | Reason::MalformedCall(text),
                Some(child),
            ) => Reason::Shredded { child, text },
            (reason, _) => reason,
        }
    }

    /// Whether the text up to here is a call that replaces the program.
    fn is_replaced(&self) -> bool {
        self.open_call.as_ref().is_some_and(|(_, text)| call_text::is_exec(text))
    }
}

/// `PID,TID](NUMBER) ` and the text behind it.
fn call_id(text: &[u8]) -> Option<(CallId, &[u8])> {
    let comma = memchr::memchr(b',', text)?;
    let bracket = memchr::memchr(b']', text)?;
    let parenthesis = memchr::memchr(b')', text)?;
    let number = text.get(bracket + 1..parenthesis)?.strip_prefix(b"(")?;
    let read = |digits: &[u8]| u32::try_from(decimal(digits)?).ok();
    let id = (read(&text[..comma])?, read(text.get(comma + 1..bracket)?)?, read(number)?);
    let rest = &text[parenthesis + 1..];
    Some((id, rest.strip_prefix(b" ").unwrap_or(rest)))
}

/// The thread of `SCHED[` behind the bracket.
fn scheduled_thread(text: &[u8]) -> Option<u32> {
    let bracket = memchr::memchr(b']', text)?;
    u32::try_from(decimal(&text[..bracket])?).ok()
}

/// The kind and the body of a line that begins as an access does: `I  `, ` L `, ` S `, ` M `.
#[inline]
fn access_shape(line: &[u8]) -> Option<(AccessKind, &[u8])> {
    let (head, body) = line.split_first_chunk::<3>()?;
    let kind = match head {
        b"I  " => AccessKind::Execute,
        b" L " => AccessKind::Load,
        b" S " => AccessKind::Store,
        b" M " => AccessKind::Modify,
        _ => return None,
    };
    Some((kind, body))
}

/// Reads `ADDRESS,SIZE`; `None` if the text has another shape.
#[inline]
fn read_access(kind: AccessKind, body: &[u8]) -> Result<Option<Access>, Reason> {
    const ADDRESS_DIGITS_MAX: usize = 16;
    let mut address = 0u64;
    let mut digits = 0;
    while let Some(digit) = body.get(digits).and_then(|byte| hex_digit(*byte)) {
        address = address << 4 | u64::from(digit);
        digits += 1;
    }
    if digits == 0 || digits > ADDRESS_DIGITS_MAX || body.get(digits) != Some(&b',') {
        return Ok(None);
    }
    match decimal(&body[digits + 1..]) {
        Some(size) => Access::checked(kind, address, size).map(Some),
        None => Ok(None),
    }
}
