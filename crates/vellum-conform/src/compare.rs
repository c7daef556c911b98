//! One sequence on both sides.

use crate::arena::{self, PAGE};
use crate::differences::{self, Disputed, Version};
use crate::files::{Ends, FILES};
use crate::linux::Linux;
use crate::maps::{self, Identities, Line};
use crate::op::{ALIVE, Call, Op, Outcome, PROCESSES};
use crate::ours::{self, Ours};
use crate::residency::Residency;
use crate::stats::Stats;
use std::collections::BTreeSet;
use std::io;
use vellum::ops::HugePages;
use vellum_lab::quiet::quietly;

/// A mistake to be made on Vellum's side: in a process, instead of a call. `None` leaves the call as it is.
pub type Mistake = fn(&mut Ours<'_>, (usize, &Call, usize), Option<u64>) -> Option<Result<Outcome, String>>;

/// How sequences are compared.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// All mappings are compared after so many operations.
    pub check_every: usize,
    /// And all contents after so many of these comparisons.
    pub sum_every: usize,
    /// Where files may end.
    pub ends: Ends,
    /// Which memory has huge pages on Vellum's side, shared or not. On Linux's side none has: whatever is advised, only
    /// whose pages are in memory could differ by that.
    pub huge_pages: HugePages,
    /// Of which sizes folios may be there: see `Vm::set_folio_orders`.
    pub folio_orders: u32,
    /// Whether there may be mappings so large that huge pages fit.
    pub is_large: bool,
    /// A mistake that Vellum's side makes.
    pub mistake: Option<Mistake>,
}

impl Settings {
    /// The same, with all comparisons after each operation.
    pub fn exact(self) -> Settings {
        Settings { check_every: 1, sum_every: 1, ..self }
    }

    fn is_exact(&self) -> bool {
        self.check_every == 1
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            check_every: 6,
            sum_every: 3,
            ends: Ends::Anywhere,
            huge_pages: HugePages::Always,
            folio_orders: 0,
            is_large: true,
            mistake: None,
        }
    }
}

/// How a sequence ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// Both sides agreed.
    Same,
    /// At a difference that is meant: its place in [`differences::DIFFERENCES`]. Only found with
    /// [all comparisons](Settings::exact).
    Meant(usize),
    /// They differed.
    Differs(Disagreement),
}

/// Where and how both sides differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The operation after which they do.
    pub at: usize,
    /// How.
    pub wrong: String,
    /// What was done, as far as both sides did it: which operation, in which process, and what came of it.
    pub steps: Vec<Step>,
}

/// An operation that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place in the sequence.
    pub op: usize,
    /// The process that did it.
    pub process: usize,
    /// The process that it forked, if it did.
    pub child: usize,
    /// What.
    pub call: Call,
    /// What came of it in Linux.
    pub linux: Outcome,
    /// What came of it in Vellum, if both came so far.
    pub ours: Option<Outcome>,
}

/// An operation that will be carried out.
struct Planned {
    op: usize,
    process: usize,
    child: usize,
    call: Call,
    pressure: u32,
}

/// Which process does what: those operations are left out which make no sense when they come.
fn plan(ops: &[Op]) -> (Vec<Planned>, Vec<Vec<usize>>) {
    let (mut alive, mut forked) = (vec![0], 1);
    let (mut planned, mut living) = (Vec::new(), Vec::new());
    for (op, Op { process, call, pressure }) in ops.iter().enumerate() {
        let index = *process as usize % alive.len();
        let process = alive[index];
        let child = forked;
        match call {
            Call::Fork if alive.len() == ALIVE || forked == PROCESSES => continue,
            Call::Exit if alive.len() == 1 => continue,
            _ if !call.is_harmless() => continue,
            Call::Fork => {
                alive.push(forked);
                forked += 1;
            }
            Call::Exit => drop(alive.remove(index)),
            _ => {}
        }
        planned.push(Planned { op, process, child, call: *call, pressure: *pressure });
        living.push(alive.clone());
    }
    (planned, living)
}

/// Runs a sequence.
///
/// # Errors
/// If Linux's side cannot go on.
pub fn run(linux: &mut Linux, ops: &[Op], settings: &Settings, stats: &mut Stats) -> io::Result<Ending> {
    linux.begin(settings.ends)?;
    let mut run = Run {
        settings,
        steps: Vec::new(),
        identities: Identities::default(),
        stats,
        checks: 0,
        lines: Default::default(),
        residency: Residency::new(settings.is_large || settings.folio_orders != 0),
        accessed: BTreeSet::new(),
    };
    let result = quietly(|| run.sequence(linux, ops));
    let (at, wrong) = match result {
        Ok(Ok(ending)) => return Ok(ending),
        Ok(Err(Wrong::Linux(error))) => return Err(error),
        Ok(Err(Wrong::Meant(difference))) => return Ok(Ending::Meant(difference)),
        Ok(Err(Wrong::Differs(at, wrong))) => (at, wrong),
        Err(panic) => (run.steps.last().map_or(0, |step| step.op), format!("Vellum panics: {panic}")),
    };
    Ok(Ending::Differs(Disagreement { at, wrong, steps: run.steps }))
}

/// Why a sequence ends early.
enum Wrong {
    Linux(io::Error),
    Meant(usize),
    /// After which operation, and how.
    Differs(usize, String),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Wrong::Linux(error)
    }
}

/// Bytes of a mapping that is long.
const LONG: u64 = 256 * PAGE;

struct Run<'a> {
    settings: &'a Settings,
    steps: Vec<Step>,
    identities: Identities,
    stats: &'a mut Stats,
    checks: usize,
    /// By process: what it had mapped when that was compared last, in Linux and in Vellum.
    lines: [(Vec<Line>, Vec<Line>); PROCESSES],
    residency: Residency,
    /// Pages that were loaded from or stored to.
    accessed: BTreeSet<u64>,
}

impl Run<'_> {
    fn sequence(&mut self, linux: &mut Linux, ops: &[Op]) -> Result<Ending, Wrong> {
        let Settings { ends, huge_pages, folio_orders, is_large, .. } = *self.settings;
        let hosted = ours::machine(is_large).map_err(|why| Wrong::Differs(0, why))?;
        hosted.vm().set_huge_pages(huge_pages);
        hosted.vm().set_shared_huge_pages(huge_pages);
        hosted.vm().set_folio_orders(folio_orders);
        let mut ours = Ours::begin(&hosted, linux.has_heap(), ends, is_large).map_err(|why| Wrong::Differs(0, why))?;
        let (planned, living) = plan(ops);
        let count = planned.len();
        let mut done = 0;
        while done < count {
            let end = (done + self.settings.check_every).min(count);
            self.part(linux, &mut ours, &planned[done..end])?;
            done = end;
            let at = planned[done - 1].op;
            self.check(linux, &mut ours, &living[done - 1], done == count).map_err(|wrong| wrong.at(at))?;
        }
        let at = planned.last().map_or(0, |last| last.op);
        self.files(linux, &ours).map_err(|wrong| wrong.at(at))?;
        let (out, back) = ours.swapped();
        self.stats.pressed += ours.pressed();
        let (mapped, split) = ours.huge();
        self.stats.huge = (self.stats.huge.0 + mapped, self.stats.huge.1 + split);
        self.stats.swapped = (self.stats.swapped.0 + out, self.stats.swapped.1 + back);
        ours.end().map_err(|wrong| Wrong::Differs(at, wrong))?;
        Ok(Ending::Same)
    }

    /// Carries operations out, in Linux all of them first: where Linux puts what may go anywhere, Vellum puts it too.
    fn part(&mut self, linux: &mut Linux, ours: &mut Ours<'_>, planned: &[Planned]) -> Result<(), Wrong> {
        let calls: Vec<_> = planned.iter().map(|planned| (planned.process, planned.call, planned.child)).collect();
        let version = linux.version();
        for (planned, linux) in planned.iter().zip(linux.run(&calls)?) {
            let Planned { op, process, child, call, .. } = *planned;
            let step = Step { op, process, child, call, linux, ours: None };
            self.steps.push(step);
            let outcome = self.step(ours, planned, linux).map_err(|why| Wrong::Differs(op, why))?;
            self.steps.pop();
            self.steps.push(Step { ours: Some(outcome), ..step });
            self.stats.count(&call, linux);
            if !is_same(&call, linux, outcome) {
                let differs = Wrong::Differs(op, format!("Linux: {linux}; Vellum: {outcome}"));
                return Err(self.known_last(version).map_or(differs, Wrong::Meant));
            }
            self.resident(planned, linux, outcome).map_or(Ok(()), |wrong| Err(Wrong::Differs(op, wrong)))?;
        }
        Ok(())
    }

    /// What is meant by the results of the last step, or what is mapped after it. That can be told only with what was
    /// mapped just before.
    fn known_last(&self, version: Version) -> Option<usize> {
        let Step { process, call, linux, ours, .. } = self.steps.last()?;
        let (linux_lines, our_lines) = &self.lines[*process];
        let disputed = Disputed { call, linux: *linux, ours: (*ours)?, linux_lines, our_lines };
        differences::known(&disputed, version).filter(|_| self.settings.is_exact())
    }

    /// Notes what a call has touched, or compares what it has found in memory. What is wrong.
    fn resident(&mut self, planned: &Planned, linux: Outcome, ours: Outcome) -> Option<String> {
        let Planned { process, child, call, pressure, .. } = planned;
        self.residency.was_pressed |= *pressure != 0;
        if let Call::Load { address }
        | Call::Store { address, .. }
        | Call::Read { address, .. }
        | Call::Write { address } = *call
        {
            self.accessed.insert(address & !(PAGE - 1));
        }
        match (*call, linux, ours) {
            (Call::Residency { address, length }, Outcome::Resident(linux), Outcome::Resident(ours)) => {
                self.residency.check(*process, address..address + length, (linux, ours))
            }
            _ => {
                self.residency.note(*process, *child, call, linux);
                None
            }
        }
    }

    fn step(&self, ours: &mut Ours<'_>, planned: &Planned, linux: Outcome) -> Result<Outcome, String> {
        let chosen = match linux {
            Outcome::Value(address) if planned.call.is_free_to_choose() => Some(address),
            _ => None,
        };
        let what = (planned.process, &planned.call, planned.child);
        if let Some(outcome) = self.settings.mistake.and_then(|mistake| mistake(ours, what, chosen)) {
            return outcome;
        }
        ours.step(what, planned.pressure, chosen)
    }

    /// Compares what the processes that are alive have mapped, and now and then what they see there.
    fn check(&mut self, linux: &mut Linux, ours: &mut Ours<'_>, alive: &[usize], is_last: bool) -> Result<(), What> {
        self.checks += 1;
        let sums = is_last || self.checks.is_multiple_of(self.settings.sum_every);
        for &process in alive {
            let mapped = (linux.maps(process)?, ours.maps(process)?);
            let (lines, our_lines) = (maps::joined(&mapped.0), maps::joined(&mapped.1));
            if let Some(wrong) = maps::difference(&lines, &our_lines, &mut self.identities) {
                let wrong = What::Differs(format!("process {process}: {wrong}"));
                return Err(self.known_last(linux.version()).map_or(wrong, What::Meant));
            }
            self.lines[process] = mapped;
            self.stats.pages += maps::pages(&lines);
            if sums {
                let lines = if is_last { lines } else { self.looked_at(&lines) };
                self.sums(linux, ours, process, &lines)?;
            }
        }
        Ok(ours.check()?)
    }

    /// Of long mappings only the pages that were accessed, and the first and the last: to load from all of them takes
    /// long, and gives a page to what had none.
    fn looked_at(&self, lines: &[Line]) -> Vec<Line> {
        let part = |line: &Line, start: u64| Line { start, end: start + PAGE, ..*line };
        let of_line = |line: &Line| -> Vec<Line> {
            if line.end - line.start <= LONG {
                return vec![*line];
            }
            let edges = [line.start, line.end - PAGE];
            let pages: BTreeSet<u64> = self.accessed.range(line.start..line.end).copied().chain(edges).collect();
            pages.into_iter().map(|start| part(line, start)).collect()
        };
        lines.iter().flat_map(of_line).collect()
    }

    fn sums(&mut self, linux: &mut Linux, ours: &mut Ours<'_>, process: usize, lines: &[Line]) -> Result<(), What> {
        let (theirs, our_sums) = (linux.sums(process, lines)?, ours.sums(process, lines)?);
        self.residency.see_all(process);
        self.stats.sums += theirs.len() as u64;
        let pages = lines.iter().flat_map(|line| (line.start..line.end).step_by(PAGE as usize));
        match pages.zip(theirs.iter().zip(&our_sums)).find(|(_, (theirs, ours))| theirs != ours) {
            Some((page, _)) => Err(What::Differs(words(linux, ours, process, page)?)),
            None => Ok(()),
        }
    }

    /// Compares what has come of the files.
    fn files(&mut self, linux: &Linux, ours: &Ours<'_>) -> Result<(), What> {
        for (number, file) in FILES.iter().enumerate() {
            let (theirs, ours) = (linux.contents(number)?, ours.contents(number)?);
            if theirs.len() != ours.len() {
                let (theirs, ours, name) = (theirs.len(), ours.len(), file.name);
                return Err(What::Differs(format!("{name} has {theirs:#x} bytes in Linux, {ours:#x} in Vellum")));
            }
            if let Some(at) = (0..theirs.len()).find(|&at| theirs[at] != ours[at]) {
                let (theirs, ours, name) = (theirs[at], ours[at], file.name);
                return Err(What::Differs(format!(
                    "byte {at:#x} of {name} is {theirs:#x} in Linux, {ours:#x} in Vellum"
                )));
            }
        }
        Ok(())
    }
}

/// How the words of a page differ, whose sums do.
fn words(linux: &mut Linux, ours: &mut Ours<'_>, process: usize, page: u64) -> Result<String, What> {
    let loads = (page..page + PAGE).step_by(8).map(|address| (process, Call::Load { address }, 0));
    let theirs = linux.run(&loads.clone().collect::<Vec<_>>())?;
    for ((_, call, _), theirs) in loads.zip(theirs) {
        let ours = ours.call(process, &call, 0, None)?;
        if theirs != ours {
            return Ok(format!("process {process}: {call} is {theirs} in Linux, {ours} in Vellum"));
        }
    }
    Ok(format!("process {process}: the contents of {} differed", arena::name(page)))
}

/// What is wrong between operations.
enum What {
    Linux(io::Error),
    Meant(usize),
    Differs(String),
}

impl What {
    fn at(self, op: usize) -> Wrong {
        match self {
            What::Linux(error) => Wrong::Linux(error),
            What::Meant(known) => Wrong::Meant(known),
            What::Differs(wrong) => Wrong::Differs(op, wrong),
        }
    }
}

impl From<io::Error> for What {
    fn from(error: io::Error) -> Self {
        What::Linux(error)
    }
}

impl From<String> for What {
    fn from(wrong: String) -> Self {
        What::Differs(wrong)
    }
}

/// Whether both sides say the same, but for what is resident: [`Residency`] says what must be.
fn is_same(call: &Call, linux: Outcome, ours: Outcome) -> bool {
    match call {
        Call::Residency { .. } => {
            matches!((linux, ours), (Outcome::Resident(_), Outcome::Resident(_))) || linux == ours
        }
        _ => linux == ours,
    }
}
