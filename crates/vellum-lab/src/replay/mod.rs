//! Replays a trace of a real program on the deterministic machine.
//!
//! One host thread carries out the total order of the log on the simulated CPUs: thread n of the first process runs on
//! CPU n modulo their number. Each store writes fresh bytes through the frame that the CPU's MMU names, each load is
//! compared with a shadow of the bytes which the core does not know; so is whether each access may be made at all.
//! Calls have the results that the log says they had. Forked processes, whose streams lie beside the trace, take turns
//! with the others.
//!
//! What is used of the host's memory grows with the pages that the trace touches, not with its length.

mod access;
mod calls;
mod engine;
pub(crate) mod files;
mod layout;
mod mmap;
mod process;
mod remap;
mod shadow;
mod slots;
pub(crate) mod touched;

use crate::hosted::Hosted;
use crate::outcome::{Outcome, RunError};
use crate::pressure::{Pressure, hand_to_core};
use crate::trace::{Event, TraceReader};
use engine::Engine;
use layout::{Area, Kind};
use process::{ALL, Process, STACK};
use std::collections::VecDeque;
use std::time::Instant;
use vellum::arch::Arch;

/// On what to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Simulated CPUs.
    pub cpus: usize,
    /// Frames of simulated memory.
    pub frames: u64,
    /// Whether every use of a cached translation is compared with the tables.
    pub checks_tables: bool,
    /// What there is against the shortage of memory.
    pub pressure: Pressure,
}

/// Events of one process before the next one has its turn.
const TURN: u64 = 1 << 12;

/// Replays the trace that `reader` reads. `progress` is told now and then how many accesses were made.
///
/// # Errors
/// [`RunError::Trace`] if it cannot be read, [`RunError::Address`] if its program's addresses are too large for `A`,
/// [`RunError::OutOfMemory`], [`RunError::Machine`].
///
/// # Panics
/// If the pages of `A` are not of 4 KiB, as those of traces are.
pub fn replay<A: Arch>(
    reader: TraceReader,
    options: &ReplayOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Outcome, RunError> {
    assert!(A::PAGE_SHIFT == process::PAGE_SHIFT, "traces are of 4 KiB pages, those of {} are others", A::NAME);
    let device = options.pressure.swap_device::<A>()?;
    let hosted = Hosted::<A>::new(&options.pressure.machine(options.cpus, options.frames))?;
    hosted.machine().check_tables(options.checks_tables);
    hand_to_core(hosted.vm(), &options.pressure, device)?;
    let begun = Instant::now();
    let mut engine = Engine::new(&hosted, options.cpus);
    let mut first = Process::new(engine.first_space()?, reader);
    first.layout.set(STACK.0, STACK.1, Area::new(Kind::Stack, ALL));
    let mut waiting = VecDeque::from([first]);
    while let Some(mut process) = waiting.pop_front() {
        engine.resident_elsewhere = waiting.iter().map(|process| process.space.rss().total()).sum();
        let goes_on = turn(&mut engine, &mut process)?;
        progress(engine.outcome.accesses);
        waiting.extend(engine.born.drain(..));
        if goes_on {
            waiting.push_back(process);
        } else {
            if waiting.is_empty() {
                // While there is something to count.
                engine.outcome.audit(hosted.vm());
            }
            engine.end(process);
        }
    }
    let mut outcome = engine.finish();
    outcome.elapsed = begun.elapsed();
    outcome.audit(hosted.vm());
    Ok(outcome)
}

/// Carries out some events of a process; whether there are more.
fn turn<'vm, A: Arch>(engine: &mut Engine<'vm, A>, process: &mut Process<'vm, A>) -> Result<bool, RunError> {
    engine.enter(process);
    for _ in 0..TURN {
        let Some(event) = process.reader.next_event()? else { return Ok(false) };
        match event {
            Event::Access(access) => engine.access(process, access)?,
            Event::Thread { tid, .. } => {
                process.thread = tid;
                engine.enter(process);
            }
            Event::Call(call) => {
                if !engine.call(process, *call)? {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}
