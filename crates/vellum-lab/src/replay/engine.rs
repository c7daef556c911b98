//! What the processes of a replay have in common: the machine, the files, the shadow, the counts.

use super::files::PatternFile;
use super::process::{ALL, PAGE_SHIFT, Process, STACK};
use super::shadow::{Pattern, Shadow};
use super::touched::Touched;
use crate::access;
use crate::background::Background;
use crate::host::Host;
use crate::hosted::Hosted;
use crate::latency::FaultLatency;
use crate::outcome::{Gauge, Outcome, RunError};
use rustc_hash::{FxHashMap, FxHashSet};
use vellum::arch::Arch;
use vellum::ops::{MapFlags, MapRequest, Place};
use vellum::{Error, Object, Space, Vm};

/// What is common to the processes of a replay.
pub(super) struct Engine<'vm, A: Arch> {
    pub(super) hosted: &'vm Hosted<A>,
    /// Files that were mapped: their places, by identity.
    places: FxHashMap<u64, usize>,
    objects: Vec<Object<'vm, Host<A>>>,
    /// Shared memories made so far.
    shared_memories: u64,
    pub(super) shadow: Shadow,
    pub(super) gauge: Gauge,
    pub(super) outcome: Outcome,
    pub(super) touched: Touched,
    pub(super) latency: FaultLatency,
    pub(super) background: Background,
    /// By CPU: the space its user runs in.
    running: Vec<Option<u64>>,
    /// Resident pages of the processes that do not have their turn.
    pub(super) resident_elsewhere: u64,
    /// Children made in this turn, and the processes whose streams were opened.
    pub(super) born: Vec<Process<'vm, A>>,
    pub(super) streams: FxHashSet<u32>,
    pub(super) missing_streams: u64,
    /// Number of the process made last.
    pub(super) processes: usize,
    pub(super) buffer: Box<[u8; 1 << PAGE_SHIFT]>,
    pub(super) seed: u64,
}

impl<'vm, A: Arch> Engine<'vm, A> {
    pub(super) fn new(hosted: &'vm Hosted<A>, cpus: usize) -> Self {
        Engine {
            hosted,
            places: FxHashMap::default(),
            objects: Vec::new(),
            shared_memories: 0,
            shadow: Shadow::new(),
            gauge: Gauge::new(hosted.vm()),
            outcome: Outcome::default(),
            touched: Touched::new(),
            latency: FaultLatency::default(),
            background: Background::default(),
            running: vec![None; cpus],
            resident_elsewhere: 0,
            born: Vec::new(),
            streams: FxHashSet::default(),
            missing_streams: 0,
            processes: 0,
            buffer: Box::new([0; 1 << PAGE_SHIFT]),
            seed: 0x1234_5678_9abc_def0,
        }
    }

    pub(super) fn vm(&self) -> &'vm Vm<Host<A>> {
        self.hosted.vm()
    }

    /// An empty space with a stack. The stack has no huge pages: where the program's own ends is in no log, so the one
    /// here goes on above that, and would have a huge page for the one page that lies there.
    pub(super) fn first_space(&mut self) -> Result<Space<'vm, Host<A>>, RunError> {
        let space = self.vm().create_space().map_err(|error| self.failed("the first address space", error))?;
        space.set_stack_limit((STACK.1 - STACK.0) << PAGE_SHIFT);
        let top = Place::Fixed((STACK.1 - 1) << PAGE_SHIFT);
        let request =
            MapRequest::anonymous(1 << PAGE_SHIFT, ALL).at(top).with(MapFlags::GROWS_DOWN | MapFlags::NO_HUGE_PAGES);
        space.map(&request).map_err(|error| self.failed("the stack", error))?;
        Ok(space)
    }

    /// Why the run cannot go on.
    pub(super) fn failed(&self, during: &str, error: Error) -> RunError {
        match error {
            Error::OutOfMemory => self.out_of_memory(during),
            error => RunError::Workload(format!("{during}: {error}")),
        }
    }

    #[cold]
    pub(super) fn out_of_memory(&self, during: &str) -> RunError {
        let frames = self.gauge.frames();
        RunError::OutOfMemory { during: during.into(), accesses: self.outcome.accesses, frames }
    }

    /// Puts the current thread of `process` on its CPU.
    pub(super) fn enter(&mut self, process: &Process<'vm, A>) {
        let cpu = (process.thread as usize).wrapping_add(process.number) % self.running.len();
        self.hosted.machine().set_cpu(cpu);
        self.running[cpu] = access::switch(&process.space, self.running[cpu]);
    }

    /// The object of the file `identity`, with its key for the shadow.
    pub(super) fn file(&mut self, identity: u64) -> Result<(u64, Object<'vm, Host<A>>), Error> {
        let place = match self.places.get(&identity) {
            Some(place) => *place,
            None => {
                let place = self.objects.len();
                self.objects.push(self.vm().file(PatternFile::new(identity))?);
                self.places.insert(identity, place);
                self.shadow.add_object(place as u64 * 2, Pattern::File(identity));
                place
            }
        };
        Ok((place as u64 * 2, self.objects[place].clone()))
    }

    /// New shared memory, with its key for the shadow.
    pub(super) fn shared_memory(&mut self, pages: u64) -> Result<(u64, Object<'vm, Host<A>>), Error> {
        let object = self.vm().shared_memory(pages)?;
        let key = self.shared_memories * 2 + 1;
        self.shared_memories += 1;
        self.shadow.add_object(key, Pattern::Zero);
        Ok((key, object))
    }

    /// Ends a process.
    pub(super) fn end(&mut self, mut process: Process<'vm, A>) {
        self.enter(&process);
        self.gauge.look(self.hosted.vm());
        for cpu in 0..self.running.len() {
            let loaded = self.hosted.machine().loaded(cpu);
            if loaded.is_some_and(|load| load.root == process.space.root()) {
                self.hosted.machine().audit(self.hosted.vm(), cpu);
            }
        }
        process.forget(0, u64::MAX >> PAGE_SHIFT, &mut self.shadow);
        for part in process.layout.iter() {
            part.area.iter().for_each(|area| self.shadow.count_unmapped(area, part.end - part.start));
        }
        for warning in process.reader.warnings() {
            let text =
                if process.number == 0 { warning.to_string() } else { format!("{}: {warning}", process.reader.name()) };
            self.warn(text);
        }
    }

    fn warn(&mut self, text: String) {
        const WARNINGS_MAX: usize = 20;
        if self.outcome.warnings.len() < WARNINGS_MAX {
            self.outcome.warnings.push(text);
        }
    }

    /// What the run came to. All processes have ended.
    pub(super) fn finish(mut self) -> Outcome {
        if self.missing_streams > 0 {
            let count = self.missing_streams;
            self.warn(format!("{count} forked children have no trace beside this one: each ended at once here"));
        }
        let vm = self.hosted.vm();
        self.objects.clear();
        (0..self.running.len()).for_each(|cpu| self.hosted.idle(cpu));
        self.outcome.pages_touched = self.touched.count();
        self.outcome.latency = self.latency;
        self.outcome.processors = self.hosted.machine().total_counters();
        self.outcome.oracle.report_all(self.hosted.take_violations());
        self.gauge.finish(vm, &mut self.outcome);
        self.outcome
    }
}
