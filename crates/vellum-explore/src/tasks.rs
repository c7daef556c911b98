//! CPUs as tasks of the crate `shuttle`.
//!
//! Task 0 sets up and ends each execution; task `n + 1` is CPU `n`. Which CPU runs has been chosen when shuttle's
//! scheduler is asked, so it only has to be told.

use super::sim::{self, Phase};
use super::{Program, wait};
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use std::any::Any;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

/// Bytes of stack of each CPU.
const STACK: usize = 512 << 10;

/// Runs executions of `program` until the simulation's strategy has no more, or an invariant breaks.
pub(super) fn run(program: Arc<dyn Program>) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::None;
    config.silence_warnings = true;
    Runner::new(Follow, config).run(move || execute(&*program));
}

/// One execution.
fn execute(program: &dyn Program) {
    silence_panics();
    sim::set_current(0);
    let execution = program.start();
    sim::with(|sim| sim.begin(execution.clone(), program.cpus()));
    let cpus: Vec<_> = (0..program.cpus())
        .map(|cpu| {
            let execution = execution.clone();
            shuttle::thread::spawn(move || {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| execution.run(cpu))) {
                    report_panic(&*panic);
                    stop();
                }
                wait::idle();
            })
        })
        .collect();
    let first = sim::with(|sim| {
        let cpus: Vec<u8> = (0..sim.cpus.len() as u8).collect();
        sim.choose(super::choice::ChoiceKind::Cpu, cpus.len(), super::choice::Cost::Free, &cpus)
    });
    sim::set_current(first);
    for cpu in cpus {
        let _ = cpu.join();
    }
    sim::set_current(0);
    sim::with(|sim| sim.phase = Phase::Alone);
    let is_of_interest = sim::with(|sim| !sim.redundant);
    if is_of_interest && let Err(panic) = catch_unwind(AssertUnwindSafe(|| execution.end())) {
        report_panic(&*panic);
    }
    sim::set_execution(None);
}

/// A panic of the program is a finding of the search, not something for standard error. Elsewhere panics are shown as
/// before.
fn silence_panics() {
    static ONCE: Once = Once::new();
    // Shuttle has its own hook by now, which prints: this one comes first.
    ONCE.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !sim::is_installed() {
                hook(info);
            }
        }));
    });
}

fn report_panic(panic: &(dyn Any + Send)) {
    sim::report("I-ASSERT", panic_text(panic));
}

/// What a panic says.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.into()));
    text.unwrap_or_else(|| "a panic without a message".into())
}

/// Lets `cpu` go on; returns when the CPU that called is chosen again.
pub(super) fn switch_to(cpu: usize) {
    sim::set_current(cpu);
    shuttle::thread::yield_now();
}

/// Ends the execution where it stands. The caller is not resumed.
pub(super) fn stop() -> ! {
    sim::with(|sim| sim.leave(Phase::Stopped));
    loop {
        shuttle::thread::yield_now();
    }
}

/// Tells shuttle what has been chosen.
#[derive(Debug)]
struct Follow;

impl Scheduler for Follow {
    fn new_execution(&mut self) -> Option<Schedule> {
        sim::with(|sim| sim.next_execution()).then(|| Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], _current: Option<TaskId>, _is_yielding: bool) -> Option<TaskId> {
        match sim::with(|sim| sim.phase) {
            Phase::Stopped => None,
            Phase::Together => {
                let cpu = TaskId::from(sim::current_cpu() + 1);
                let main = TaskId::from(0);
                // Until the first CPU is chosen, and when the main task waits, it is the one or the other.
                let chosen = if runnable.iter().any(|task| task.id() == main) { main } else { cpu };
                Some(chosen)
            }
            Phase::Alone | Phase::Ending => runnable.first().map(|task| task.id()),
        }
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}
