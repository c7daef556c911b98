//! The measured window: what a job puts into it is counted, timed or recorded; what it does before and after is not.

use super::{machine, record};
use std::time::Instant;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing here: callgrind looks on.
    Instructions,
    /// Time.
    Time,
    /// Accesses to shared state.
    Record,
    /// One instruction at a time: see [`super::step`].
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Step,
    /// How deep the stack gets: see [`super::stacks`].
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Stack,
}

/// Sums over the window, or over several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// Repetitions: operations, or pages where the unit is a page.
    pub repetitions: u64,
    /// Nanoseconds.
    pub nanoseconds: u64,
    /// Atomic read-modify-writes.
    pub modifies: u64,
    /// Lines of shared state written, each counted once an operation.
    pub lines_written: u64,
    /// The most bytes of stack.
    pub stack: u64,
}

/// Opens the measured window for a job.
pub struct Window {
    mode: Mode,
    /// What was measured so far.
    pub sums: Sums,
}

impl Window {
    /// A window which measures `mode`.
    pub fn new(mode: Mode) -> Window {
        machine::have_ready(mode == Mode::Time);
        Window { mode, sums: Sums::default() }
    }

    /// Measures `operation` for 0, 1, … up to `count`, and then `settle`: what the operations have put off.
    pub fn each(&mut self, count: u64, mut operation: impl FnMut(u64), settle: impl FnMut()) {
        self.sums.repetitions += count;
        match self.mode {
            Mode::Record => {
                (0..count).for_each(|number| self.record(|| operation(number)));
                self.record(settle);
            }
            _ => self.open(|| (0..count).for_each(&mut operation), settle),
        }
    }

    /// Measures one `operation`, and `settle`, which together work on `pages` pages.
    pub fn whole(&mut self, pages: u64, mut operation: impl FnMut(), mut settle: impl FnMut()) {
        self.sums.repetitions += pages;
        match self.mode {
            Mode::Record => self.record(|| {
                operation();
                settle();
            }),
            _ => self.open(operation, settle),
        }
    }

    fn record(&mut self, operation: impl FnOnce()) {
        let (modifies, lines_written) = record::during(operation);
        self.sums.modifies += modifies;
        self.sums.lines_written += lines_written;
    }

    fn open(&mut self, mut operations: impl FnMut(), mut settle: impl FnMut()) {
        machine::clear_apart(self.mode != Mode::Time);
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        if self.mode == Mode::Step {
            return super::step::through(|| {
                operations();
                settle();
            });
        }
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        if self.mode == Mode::Stack {
            let painted = super::stacks::Painted::new();
            operations();
            settle();
            self.sums.stack = self.sums.stack.max(painted.depth());
            return;
        }
        let start = Instant::now();
        measured_window(&mut || {
            operations();
            settle();
        });
        self.sums.nanoseconds += start.elapsed().as_nanos() as u64;
        machine::clear_apart(false);
    }
}

/// Callgrind counts while this runs, which it knows by name.
#[inline(never)]
fn measured_window(content: &mut dyn FnMut()) {
    content();
    std::hint::black_box(());
}
