//! The state of the execution under way, one per host thread.

use super::buffer::Delayed;
use super::choice::{Choice, ChoiceKind, Cost, Strategy};
use super::interrupt::Pending;
pub(crate) use super::record::happened_here;
pub use super::record::{happened, happened_on};
use super::schedule::{Decision, OwnDecision, OwnPlace, PlaceInTime, Schedule};
use super::visible::{Context, Regions, Visible, WordId};
use super::{Broken, Execution, Happening, MemoryOrder};
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Instant;
use vellum::Guard;

/// What a CPU is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It runs, or could.
    Running,
    /// It waits for the integer at `address`, of `size` bytes, to differ from `seen`.
    Waiting { address: usize, seen: u32 },
    /// It has done its work and only takes interrupts.
    Idle,
}

/// A simulated CPU.
pub(crate) struct SimCpu {
    pub(crate) doing: Doing,
    /// The interrupt that has been sent to it.
    pub(crate) pending: Pending,
    /// A wait has ended since it came: one that lasts until it is taken would last too long if that may not be.
    pub(crate) interrupt_noticed: bool,
    /// How often interrupts have been switched off.
    pub(crate) interrupts_off: u32,
    pub(crate) in_handler: bool,
    pub(crate) stores: VecDeque<Delayed>,
    /// It was pre-empted.
    pub(crate) parked: Option<Parked>,
    /// It has put an interrupt off: what it has done since.
    pub(crate) held: Option<Held>,
    /// It takes the interrupt: what it did just before.
    pub(crate) taking: Option<Parked>,
    /// Steps it has begun, and its choices in this one, by kind.
    steps: u32,
    ordinals: Ordinals,
}

type Ordinals = [u16; ChoiceKind::ALL.len()];

/// What a CPU is about to do before which it was pre-empted, or what it did before it took an interrupt.
///
/// If nobody touches what it is about to touch before it goes on, the same happens as if it had been pre-empted after
/// that access; and if nobody touches what it touched until the handler has returned, as if it had taken the interrupt
/// before that. So that execution stands for this one, which need not be searched further.
#[derive(Default)]
pub(crate) struct Parked {
    /// What it touches, and whether it writes.
    pub(crate) words: Vec<(WordId, bool)>,
    /// CPUs that it interrupts, as a bit set.
    pub(crate) cpus: u32,
    /// Somebody else touched them, or one of these CPUs ran.
    pub(crate) disturbed: bool,
}

/// What a CPU has done since it could have taken, last, an interrupt that it has put off.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) done: Parked,
    /// Some of it may conflict with the handler.
    pub(crate) concerns_handler: bool,
}

impl Parked {
    /// Somebody touches `word`, on one of the CPUs `by`.
    fn disturb(&mut self, word: WordId, writes: bool, by: u32) {
        let conflicts = |&(theirs, they_write): &(WordId, bool)| theirs == word && (writes || they_write);
        self.disturbed |= self.cpus & by != 0 || self.words.iter().any(conflicts);
    }
}

impl SimCpu {
    fn new() -> SimCpu {
        SimCpu {
            doing: Doing::Running,
            pending: Pending::Nothing,
            interrupt_noticed: false,
            interrupts_off: 0,
            in_handler: false,
            stores: VecDeque::new(),
            parked: None,
            held: None,
            taking: None,
            steps: 0,
            ordinals: Ordinals::default(),
        }
    }

    /// Whether a wait that only lasts a short while is over: an interrupt has come since the last.
    pub(crate) fn ends_wait(&self) -> bool {
        self.is_interrupted() && !self.interrupt_noticed || self.takes_interrupt()
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.pending != Pending::Nothing
    }

    /// Whether it can take an interrupt now.
    pub(crate) fn takes_interrupt(&self) -> bool {
        self.is_interrupted() && self.interrupts_off == 0 && !self.in_handler
    }
}

/// Where the execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Setting up, or checking the end: nothing is explored.
    Alone,
    /// The CPUs run.
    Together,
    /// All CPUs are done, and their tasks are ending.
    Ending,
    /// A violation was found: nothing runs on.
    Stopped,
}

/// Everything about the search and its execution under way.
pub(crate) struct Sim {
    pub(crate) strategy: Box<dyn Strategy>,
    /// The strategy wants some choices to be made although nothing visible is touched there.
    has_wishes: bool,
    pub(crate) visible: Visible,
    pub(crate) order: MemoryOrder,
    pub(crate) steps_max: u32,
    pub(crate) phase: Phase,
    pub(crate) cpus: Vec<SimCpu>,
    pub(crate) step: u32,
    /// Choices made in this step, by kind.
    ordinals: Ordinals,
    pub(crate) regions: Regions,
    pub(crate) schedule: Schedule,
    /// The decisions of the schedule by the places of the CPUs that made them.
    pub(crate) own_decisions: Vec<OwnDecision>,
    /// The execution under way would have been another if no store had been delayed.
    pub(crate) delays_matter: bool,
    /// In a replay: the words whose stores are delayed, instead of the visible ones.
    pub(crate) replay_delayed: Option<Vec<u64>>,
    pub(crate) broken: Option<Broken>,
    pub(crate) happenings: Option<Vec<Happening>>,
    /// In a replay: who made an integer that was zero what it is. For a lock, who holds it.
    pub(crate) holders: FxHashMap<usize, usize>,
    /// A digest of every access of the execution.
    pub(crate) digest: u64,
    pub(crate) executions: u64,
    pub(crate) deadline: Option<Instant>,
    pub(crate) out_of_time: bool,
    /// It runs a part of the search's executions: whoever has divided it begins anew when words become visible.
    pub(crate) is_part: bool,
    /// Executions that others stand for are not searched further.
    pub(crate) prunes: bool,
    /// Somebody is pre-empted, or has put an interrupt off, so that what others touch is of interest.
    pub(crate) is_watched: bool,
    /// Another execution stands for the one under way: no more choices are made in it.
    pub(crate) redundant: bool,
    /// Allocations may fail.
    pub(crate) allocations_fail: bool,
    /// How many did, in the execution under way.
    pub(crate) failures: u32,
    /// Each execution is run twice: the digest of the first run, when the second is under way.
    pub(crate) twice: Option<Option<u64>>,
    /// What went wrong with the search itself.
    pub(crate) failure: Option<String>,
}

/// Words for one bit a guard.
const GUARD_SETS: usize = Guard::ALL.len().div_ceil(64);

thread_local! {
    /// Like all that is here without a destructor, for which the host would have to ask at each use: a search takes
    /// away what it has installed.
    static SIM: ManuallyDrop<RefCell<Option<Box<Sim>>>> = const { ManuallyDrop::new(RefCell::new(None)) };
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    static EXPLORING: Cell<bool> = const { Cell::new(false) };
    static LOOKING: Cell<bool> = const { Cell::new(false) };
    static GUARDS_OFF: [Cell<u64>; GUARD_SETS] = const { [const { Cell::new(0) }; GUARD_SETS] };
    /// How many stores are delayed, and to which addresses, as a set of what [`bit`] says of them.
    static DELAYED: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
    static EXECUTION: ManuallyDrop<RefCell<Option<Arc<dyn Execution>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
    static RECORDING: Cell<bool> = const { Cell::new(false) };
    static LOADS: ManuallyDrop<RefCell<Vec<usize>>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// Begins to record the addresses of loads that are not explored.
pub(crate) fn record_loads() {
    RECORDING.set(true);
}

/// Notes such a load, if they are being recorded.
#[inline]
pub(crate) fn record_load(address: usize) {
    if RECORDING.get() {
        add_load(address);
    }
}

#[cold]
fn add_load(address: usize) {
    LOADS.with(|loads| loads.borrow_mut().push(address));
}

/// Ends the record.
pub(crate) fn recorded_loads() -> Vec<usize> {
    RECORDING.set(false);
    LOADS.with(|loads| loads.take())
}

/// The CPU that runs on this host thread.
pub fn current_cpu() -> usize {
    CURRENT.get()
}

/// Makes `cpu` the current one, where nothing is explored.
pub fn set_current(cpu: usize) {
    CURRENT.set(cpu);
}

/// Whether accesses are being explored now.
pub fn is_exploring() -> bool {
    EXPLORING.get()
}

/// Whether `guard` is on in the program under test on this host thread.
pub fn guard(guard: Guard) -> bool {
    GUARDS_OFF.with(|sets| sets[guard as usize / 64].get()) & 1 << (guard as u8 % 64) == 0
}

pub(crate) fn set_guards_off(guards: &[Guard]) {
    GUARDS_OFF.with(|sets| {
        sets.iter().for_each(|set| set.set(0));
        guards.iter().for_each(|&guard| sets[guard as usize / 64].update(|set| set | 1 << (guard as u8 % 64)));
    });
}

/// Runs `body` with the simulation of this host thread. No scheduling may happen inside.
pub(crate) fn with<R>(body: impl FnOnce(&mut Sim) -> R) -> R {
    SIM.with(|sim| body(sim.borrow_mut().as_mut().expect("no program is being explored on this host thread")))
}

/// Installs a simulation, or takes it away.
pub(crate) fn install(sim: Option<Box<Sim>>) -> Option<Box<Sim>> {
    EXPLORING.set(false);
    LOOKING.set(false);
    DELAYED.set((0, 0));
    set_execution(None);
    SIM.with(|installed| installed.replace(sim))
}

/// Whether a search is under way on this host thread. Panic hooks may ask at any time.
pub fn is_installed() -> bool {
    SIM.with(|sim| sim.try_borrow().map_or(true, |sim| sim.is_some()))
}

/// Whether a store to `address` may be delayed: there is none if not.
#[inline]
pub(crate) fn is_maybe_delayed(address: usize) -> bool {
    DELAYED.get().1 & bit(address) != 0
}

/// A store to `address` is delayed.
fn note_delayed(address: usize) {
    let (count, set) = DELAYED.get();
    DELAYED.set((count + 1, set | bit(address)));
}

/// A delayed store arrives.
pub(crate) fn note_arrived() {
    let (count, set) = DELAYED.get();
    DELAYED.set((count - 1, if count > 1 { set } else { 0 }));
}

fn bit(address: usize) -> u64 {
    1 << (address >> 3 & 63)
}

/// The execution under way.
pub(crate) fn execution() -> Option<Arc<dyn Execution>> {
    EXECUTION.with(|current| current.borrow().clone())
}

/// Sets the execution under way.
pub(crate) fn set_execution(execution: Option<Arc<dyn Execution>>) {
    EXECUTION.with(|current| current.replace(execution));
}

/// Asks the execution under way something, or has it do something, as the lab. No scheduling may happen inside.
pub(crate) fn ask<R>(question: impl FnOnce(&dyn Execution) -> R) -> Option<R> {
    EXECUTION.with(|current| current.borrow().as_ref().map(|execution| quietly(|| question(&**execution))))
}

/// Has the execution check an access to `address` that is about to happen. Whether it may: else it is reported.
pub(crate) fn check(address: usize) -> bool {
    let broken = EXECUTION.with(|current| {
        let current = current.borrow();
        let execution = current.as_ref()?;
        quietly(|| execution.check(address))
    });
    broken.map(|broken| report(&broken.invariant, broken.detail)).is_none()
}

/// Runs `body` without its accesses being explored: the lab's own looks at the core. It sees delayed stores as if they
/// had arrived, so that what it finds does not depend on which stores a search delays.
#[inline]
pub fn quietly<R>(body: impl FnOnce() -> R) -> R {
    let before = begin_quiet();
    let result = body();
    end_quiet(before);
    result
}

/// Ends exploration for a while: what [`end_quiet`] has to know.
fn begin_quiet() -> (bool, bool) {
    let before = (EXPLORING.replace(false), LOOKING.get());
    LOOKING.set(before.0 || before.1);
    before
}

fn end_quiet((explored, looked): (bool, bool)) {
    EXPLORING.set(explored);
    LOOKING.set(looked);
}

/// What the lab sees at `address` beside what is in memory: the newest store that is delayed, while it looks.
#[inline]
pub(crate) fn seen_by_lab(address: usize) -> Option<u64> {
    if !is_maybe_delayed(address) || !LOOKING.get() {
        return None;
    }
    newest_store(address)
}

#[cold]
fn newest_store(address: usize) -> Option<u64> {
    SIM.with(|sim| sim.try_borrow().ok()?.as_ref()?.newest_store(address))
}

/// Runs `body` with the simulation of this host thread, if there is one. No scheduling may happen inside.
pub(crate) fn if_installed(body: impl FnOnce(&mut Sim)) {
    SIM.with(|sim| sim.borrow_mut().as_deref_mut().map(body));
}

/// How often an allocation, or what else can fail, was made to fail in this execution.
pub fn failures() -> u32 {
    SIM.with(|sim| sim.borrow().as_ref().map_or(0, |sim| sim.failures))
}

/// Whether it is recorded what happens.
pub(crate) fn has_happenings() -> bool {
    SIM.with(|sim| sim.borrow().as_ref().is_some_and(|sim| sim.happenings.is_some()))
}

/// Whether a diagram is being drawn.
pub(crate) fn is_drawn() -> bool {
    SIM.with(|sim| sim.borrow().as_ref().is_some_and(|sim| sim.happenings.is_some() && sim.phase == Phase::Together))
}

/// Reports a broken invariant: the execution stops at the running CPU's next access.
pub fn report(invariant: &str, detail: String) {
    with(|sim| {
        if sim.broken.is_none() {
            sim.broken = Some(Broken { invariant: invariant.into(), detail });
        }
    });
}

impl Sim {
    pub(crate) fn new(strategy: Box<dyn Strategy>, order: MemoryOrder, steps_max: u32) -> Sim {
        Sim {
            has_wishes: strategy.has_wishes(),
            strategy,
            visible: Visible::default(),
            order,
            steps_max,
            phase: Phase::Alone,
            cpus: Vec::new(),
            step: 0,
            ordinals: Ordinals::default(),
            regions: Regions::default(),
            schedule: Schedule::default(),
            own_decisions: Vec::new(),
            delays_matter: false,
            replay_delayed: None,
            broken: None,
            happenings: None,
            holders: FxHashMap::default(),
            digest: 0,
            executions: 0,
            deadline: None,
            out_of_time: false,
            is_part: false,
            prunes: false,
            is_watched: false,
            redundant: false,
            allocations_fail: false,
            failures: 0,
            twice: None,
            failure: None,
        }
    }

    /// Begins the part of an execution that is explored.
    pub(crate) fn begin(&mut self, execution: Arc<dyn Execution>, cpus: usize) {
        self.regions = Regions::new(execution.memory());
        set_execution(Some(execution));
        DELAYED.set((0, 0));
        self.visible.begin();
        self.cpus = (0..cpus).map(|_| SimCpu::new()).collect();
        (self.step, self.ordinals, self.digest) = (0, Default::default(), 0);
        (self.is_watched, self.redundant, self.delays_matter, self.failures) = (false, false, false, 0);
        self.schedule = Schedule::default();
        self.own_decisions.clear();
        if let Some(happenings) = &mut self.happenings {
            happenings.clear();
            self.holders.clear();
        }
        self.phase = Phase::Together;
        EXPLORING.set(true);
    }

    /// Leaves the part that is explored.
    pub(crate) fn leave(&mut self, phase: Phase) {
        self.phase = phase;
        EXPLORING.set(false);
    }

    /// Notes that the current CPU touches `word`.
    pub(crate) fn touch(&mut self, word: WordId, writes: bool) {
        let is_shared = self.visible.is_shared(word);
        self.note(word, writes, is_shared);
    }

    /// The same of a word that is not visible.
    pub(crate) fn touch_invisible(&mut self, word: WordId, writes: bool) {
        self.note(word, writes, false);
    }

    #[inline(always)]
    fn note(&mut self, word: WordId, writes: bool, is_shared: bool) {
        let cpu = CURRENT.get();
        let &SimCpu { in_handler, interrupts_off, .. } = &self.cpus[cpu];
        if in_handler {
            self.visible.touch_in_handler(word, cpu, writes);
        }
        if !is_shared {
            let context = match (in_handler, interrupts_off) {
                (true, _) => Context::Handler,
                (false, 0) => Context::Interruptible,
                (false, _) => Context::InterruptsOff,
            };
            self.visible.touch(word, cpu, context, writes);
        }
        if self.is_watched {
            self.disturb(word, writes);
        }
    }

    /// Notes for CPUs that were pre-empted, or put an interrupt off, that the current one touches `word`.
    fn disturb(&mut self, word: WordId, writes: bool) {
        self.disturb_parked(word, writes);
        self.disturb_held(word, writes, None);
        let watches = |cpu: &SimCpu| cpu.parked.is_some() || cpu.held.is_some() || cpu.taking.is_some();
        self.is_watched = self.cpus.iter().any(watches);
    }

    /// A store to `word` arrives that waited in the buffer of `cpu`.
    pub(crate) fn arrives(&mut self, word: WordId, cpu: usize) {
        self.disturb_parked(word, true);
        self.disturb_held(word, true, Some(cpu));
    }

    fn disturb_parked(&mut self, word: WordId, writes: bool) {
        let by = 1 << CURRENT.get();
        for other in &mut self.cpus {
            if let Some(parked) = &mut other.parked {
                parked.disturb(word, writes, by);
            }
        }
    }

    /// Notes for CPUs that put an interrupt off that the current one does something to `word`, which it is if a store
    /// of `owner` arrives there. To a CPU it does not matter when its own stores arrive.
    fn disturb_held(&mut self, word: WordId, writes: bool, owner: Option<usize>) {
        if self.cpus.iter().all(|cpu| cpu.held.is_none() && cpu.taking.is_none()) {
            return;
        }
        let current = CURRENT.get();
        let is_visible = self.visible.is_visible(word);
        for (cpu, sim_cpu) in self.cpus.iter_mut().enumerate() {
            let SimCpu { held, taking, interrupts_off, .. } = sim_cpu;
            let is_own = cpu == current;
            // What is touched with interrupts off may conflict with the handler alone.
            if let Some(held) = held.as_mut().filter(|_| is_own && (is_visible || *interrupts_off > 0)) {
                held.done.words.push((word, writes));
                held.concerns_handler |= self.visible.is_handlers(cpu, word, writes);
            }
            if let Some(held) = held.as_mut().filter(|_| !is_own && owner != Some(cpu)) {
                held.done.disturb(word, writes, 1 << current);
            }
            if let Some(taking) = taking.as_mut().filter(|_| owner != Some(cpu)) {
                taking.disturb(word, writes, 1 << current);
            }
        }
    }

    /// `cpu` goes on after it was pre-empted. Whether something has happened in between that may matter to the step
    /// before which it was.
    pub(crate) fn resume(&mut self, cpu: usize) -> bool {
        self.cpus[cpu].parked.take().is_some_and(|parked| parked.disturbed)
    }

    /// The current CPU takes the step before which it was pre-empted: unless it was `disturbed`, another execution
    /// stands for this one.
    pub(crate) fn prune_unless(&mut self, disturbed: bool) {
        self.redundant |= self.prunes && !disturbed;
    }

    /// Begins the next step, whose digest is that of `what`.
    #[inline]
    pub(crate) fn next_step(&mut self, what: u64) {
        let cpu = CURRENT.get();
        self.step += 1;
        self.ordinals = Default::default();
        let own = &mut self.cpus[cpu];
        own.steps += 1;
        own.ordinals = Default::default();
        self.digest = (self.digest.rotate_left(5) ^ what ^ (cpu as u64) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if self.step > self.steps_max {
            self.report_endless();
        }
    }

    #[cold]
    fn report_endless(&mut self) {
        let detail = format!("the execution does not end: {} steps", self.steps_max);
        self.broken.get_or_insert(Broken { invariant: "I-PROG".into(), detail });
    }

    /// Whether a choice of `cost` may be for anything else than what is usual.
    pub(crate) fn may_choose(&self, cost: Cost) -> bool {
        !self.redundant && self.strategy.allows(cost)
    }

    /// Passes a choice of `kind` by that is for what is usual: those of its kind that follow in this step are counted
    /// on.
    pub(crate) fn pass_by(&mut self, kind: ChoiceKind) -> (u16, u16) {
        let own = &mut self.cpus[CURRENT.get()].ordinals[kind as usize];
        *own += 1;
        self.ordinals[kind as usize] += 1;
        (self.ordinals[kind as usize], *own)
    }

    /// Has a choice made.
    pub(crate) fn choose(&mut self, kind: ChoiceKind, options: usize, cost: Cost, cpus: &[u8]) -> usize {
        if options < 2 || self.redundant {
            return 0;
        }
        let own_place = self.own_place();
        let (ordinal, own_ordinal) = self.pass_by(kind);
        let place = PlaceInTime { step: self.step, kind, ordinal };
        let options = options.min(u8::MAX as usize) as u8;
        let choice = Choice { place, own: (own_place, own_ordinal), options, cost, cpus };
        let option = self.strategy.choose(&choice);
        if option > 0 {
            self.schedule.decisions.push(Decision { place, option });
            let goes_on = cpus.get(option as usize).copied();
            self.own_decisions.push(OwnDecision { place: own_place, kind, ordinal: own_ordinal, option, goes_on });
        }
        option as usize
    }

    fn own_place(&self) -> OwnPlace {
        let cpu = CURRENT.get();
        OwnPlace { cpu, step: self.cpus[cpu].steps }
    }

    /// Whether the strategy wants the choices at this step made.
    pub(crate) fn is_wanted(&self) -> bool {
        self.has_wishes && self.strategy.wants(self.step, self.own_place())
    }

    /// Whether an access to `word` is worth a choice now.
    pub(crate) fn is_visible(&self, word: WordId) -> bool {
        self.visible.is_visible(word) || self.is_wanted()
    }

    /// Whether stores to `word` are delayed.
    pub(crate) fn delays(&self, word: WordId) -> bool {
        self.order == MemoryOrder::Tso
            && match &self.replay_delayed {
                Some(words) => words.contains(&word.0),
                None => self.visible.is_shared(word),
            }
    }

    /// Keeps a store in the current CPU's buffer.
    pub(crate) fn delay(&mut self, delayed: Delayed) {
        let WordId(word) = delayed.word;
        self.cpus[CURRENT.get()].stores.push_back(delayed);
        note_delayed(delayed.address);
        if !self.schedule.delayed.contains(&word) {
            self.schedule.delayed.push(word);
        }
    }
}
