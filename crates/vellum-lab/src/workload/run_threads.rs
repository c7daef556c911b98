//! A workload on real threads, one for each CPU.

use super::user::User;
use super::{Actor, Prepared, Setting, Step, Workload, add_user};
use crate::host::Host;
use crate::outcome::{Gauge, Outcome, RunError};
use crate::poison::lock;
use crate::pressure::hand_to_core;
use crate::replay::touched::Touched;
use crate::threads::{Mmus, ThreadHost};
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;
use vellum::arch::Arch;

/// What the threads have in common.
struct Common {
    /// By CPU: accesses made, and resident pages.
    progress: Vec<(AtomicU64, AtomicU64)>,
    is_common: bool,
    /// Somebody failed: stop.
    stops: AtomicBool,
    gauge: Mutex<Gauge>,
    outcome: Mutex<(Outcome, Touched)>,
}

pub(super) fn run<A: Arch>(workload: Workload, setting: &Setting) -> Result<Outcome, RunError> {
    let device = setting.pressure.swap_device::<A>()?;
    let host = ThreadHost::<A>::new(&setting.pressure.machine(setting.cpus, setting.frames), Mmus::Simulated)?;
    host.machine().check_frames(true);
    {
        let seat = host.enter(0);
        hand_to_core(seat.vm(), &setting.pressure, device)?;
    }
    let begun = Instant::now();
    let gauge = Mutex::new(Gauge::new(host.vm()));
    let prepared = {
        let seat = host.enter(0);
        workload.prepare(&mut User::new(seat.vm(), 0), setting.cpus)
    };
    let Prepared { actors, is_common } = prepared?;
    let common = Common {
        progress: (0..setting.cpus).map(|_| Default::default()).collect(),
        is_common,
        stops: AtomicBool::new(false),
        gauge,
        outcome: Mutex::new((Outcome::default(), Touched::new())),
    };
    let results: Vec<Result<(), RunError>> = std::thread::scope(|scope| {
        let start = |(cpu, actor)| {
            let (host, common) = (&host, &common);
            scope.spawn(move || act(host, cpu, actor, common))
        };
        let threads: Vec<_> = actors.into_iter().enumerate().map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    results.into_iter().collect::<Result<(), _>>()?;
    let (mut outcome, touched) = common.outcome.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    outcome.pages_touched = touched.count();
    outcome.elapsed = begun.elapsed();
    outcome.oracle.report_all(host.machine().take_violations());
    outcome.processors = host.machine().total_counters();
    let gauge = common.gauge.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    gauge.finish(host.vm(), &mut outcome);
    let _seat = host.enter(0);
    outcome.audit(host.vm());
    Ok(outcome)
}

/// What one thread does.
fn act<'vm, A: Arch>(
    host: &'vm ThreadHost<A>,
    cpu: usize,
    mut actor: Box<dyn Actor<'vm, Host<A>> + 'vm>,
    common: &Common,
) -> Result<(), RunError> {
    let seat = host.enter(cpu);
    let mut user = User::new(seat.vm(), cpu);
    let result = loop {
        let step = actor.step(&mut user);
        common.progress[cpu].0.store(user.accesses, Relaxed);
        common.progress[cpu].1.store(actor.resident(), Relaxed);
        if cpu == 0 {
            sample(host, common);
        }
        match step {
            Ok(Step::More) if !common.stops.load(Relaxed) => {}
            Ok(_) => break Ok(()),
            Err(error) => {
                common.stops.store(true, Relaxed);
                break Err(error);
            }
        }
    };
    if let Ok(mut gauge) = common.gauge.try_lock() {
        gauge.look(host.vm());
    }
    // Leave the space before it ends.
    seat.idle();
    drop(actor);
    drop(seat);
    let (outcome, touched) = &mut *lock(&common.outcome);
    add_user(outcome, &user);
    touched.merge(&user.touched);
    result
}

fn sample<A: Arch>(host: &ThreadHost<A>, common: &Common) {
    let accesses = common.progress.iter().map(|(accesses, _)| accesses.load(Relaxed)).sum();
    let Ok(mut gauge) = common.gauge.try_lock() else { return };
    if gauge.is_due(accesses) {
        let resident = common.progress.iter().map(|(_, resident)| resident.load(Relaxed));
        let resident = if common.is_common { resident.max().unwrap_or(0) } else { resident.sum() };
        gauge.sample(host.vm(), accesses, resident);
    }
}
