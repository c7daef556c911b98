//! Which cache lines two CPUs both write when they work on ranges of their own in one space.
//!
//! Operations on ranges that do not meet should not make the CPUs wait for each other, so they should write no common
//! line. There is one exception: the space's TLB generation and the flush mailboxes, when an operation takes present
//! entries or rights away, for then the other CPU has to hear of it.
//!
//! [`measure`] lets two CPUs of a recording machine work in turn and looks at who touched which line. What is recorded
//! is what goes through `vellum::sync`; each CPU has free frames on its own list, so that the rare visits to the buddy
//! allocator, which all CPUs share, are not in it.

mod line;
mod operation;

pub use line::Line;
pub use operation::Operation;

use crate::hardware::MachineConfig;
use crate::host::Host;
use crate::hosted::{Hosted, HostedError};
use crate::recorder::{self, Summary};
use operation::Ground;
use vellum::arch::Arch;

/// Simulated CPUs.
pub const CPUS: usize = 2;
/// Bytes from the range of one CPU to that of the next.
pub const DISTANCE: u64 = 16 << 20;
/// How often each CPU carries its operation out while it is watched.
pub const ROUNDS: u64 = 8;

/// The address at which the range of the first CPU begins.
const BASE: u64 = 0x10_0000_0000;
/// Frames of the machine.
const FRAMES: u64 = 16_384;

/// The machine that is watched.
pub type Recorded<A> = Hosted<A>;
/// A space on it.
pub type Space<'vm, A> = vellum::Space<'vm, Host<A>>;

/// Two operations, each of which one CPU carried out, and the lines that went from one to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What CPU 0 did.
    pub first: Operation,
    /// What CPU 1 did.
    pub second: Operation,
    /// The lines that one wrote and the other touched.
    pub lines: Vec<Line>,
}

impl Pair {
    /// Whether `line` may be written by both: flushes go through it, and one of the operations needs flushes.
    pub fn exempts(&self, line: &Line) -> bool {
        line.is_of_flushes() && (self.first.flushes() || self.second.flushes())
    }

    /// The lines both write although they should not.
    pub fn conflicts(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.is_written_by_several() && !self.exempts(line))
    }

    /// The lines both write, and may.
    pub fn exempted(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.is_written_by_several() && self.exempts(line))
    }
}

/// Measures every pair of `operations`, also of each with itself, each pair on a fresh machine.
pub fn measure<A: Arch>(operations: &[Operation]) -> Result<Vec<Pair>, HostedError> {
    let pairs = operations.iter().enumerate().flat_map(|(place, &first)| {
        operations[place..].iter().map(move |&second| measure_pair::<A>(first, second, DISTANCE))
    });
    pairs.collect()
}

/// Measures one pair, with the range of CPU 1 so many bytes after that of CPU 0: 0 lets both work in one table, on
/// pages of their own.
pub fn measure_pair<A: Arch>(first: Operation, second: Operation, distance: u64) -> Result<Pair, HostedError> {
    let hosted = Recorded::<A>::new(&MachineConfig::new(CPUS, FRAMES))?;
    let ground = Ground::new(&hosted, [BASE, BASE + distance])?;
    let actors = [(0, first), (1, second)];
    actors.iter().for_each(|&(cpu, operation)| ground.prepare(cpu, operation));
    (0..CPUS).for_each(|cpu| ground.stock(cpu));
    let round = |number| actors.iter().for_each(|&(cpu, operation)| ground.carry_out(cpu, operation, number));
    round(0);
    recorder::start();
    (1..=ROUNDS).for_each(round);
    let lines = Line::of(hosted.vm(), &Summary::of(&recorder::stop()));
    Ok(Pair { first, second, lines })
}
