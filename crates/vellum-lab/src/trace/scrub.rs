//! Takes out of a trace what tells about the machine that it was recorded on.

use super::event::{Call, CallKind, Event};
use std::collections::HashMap;

/// Neutral names for paths and task numbers: `file-1`, … and 1, …, in the order of appearance.
///
/// One scrubber serves all the streams of a recording, so that a child keeps its number.
#[derive(Debug, Default)]
pub struct Scrubber {
    files: HashMap<Box<[u8]>, usize>,
    tasks: HashMap<u32, u32>,
}

impl Scrubber {
    /// A scrubber that has seen nothing.
    pub fn new() -> Scrubber {
        Scrubber::default()
    }

    /// The neutral number of a process or of a kernel task.
    pub fn task(&mut self, number: u32) -> u32 {
        let next = self.tasks.len() as u32 + 1;
        *self.tasks.entry(number).or_insert(next)
    }

    /// The event without paths and task numbers.
    pub fn scrub(&mut self, event: Event) -> Event {
        let Event::Call(call) = event else {
            return event;
        };
        let tid = call.tid;
        let kind = match call.kind {
            CallKind::Open { fd, path } => CallKind::Open { fd, path: self.file(path) },
            CallKind::Clone { kind, flags, child } => CallKind::Clone { kind, flags, child: self.task(child) },
            kind => kind,
        };
        Event::Call(Box::new(Call { tid, kind }))
    }

    fn file(&mut self, path: Box<[u8]>) -> Box<[u8]> {
        let next = self.files.len() + 1;
        let number = *self.files.entry(path).or_insert(next);
        format!("file-{number}").into_bytes().into()
    }
}
