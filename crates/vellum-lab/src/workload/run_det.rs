//! A workload on the deterministic machine: the CPUs take turns, one step each.

use super::user::User;
use super::{Prepared, Setting, Step, Workload, add_user};
use crate::hosted::Hosted;
use crate::outcome::{Gauge, Outcome, RunError};
use crate::pressure::hand_to_core;
use crate::replay::touched::Touched;
use std::time::Instant;
use vellum::arch::Arch;

pub(super) fn run<A: Arch>(workload: Workload, setting: &Setting) -> Result<Outcome, RunError> {
    let device = setting.pressure.swap_device::<A>()?;
    let hosted = Hosted::<A>::new(&setting.pressure.machine(setting.cpus, setting.frames))?;
    let (vm, machine) = (hosted.vm(), hosted.machine());
    hand_to_core(vm, &setting.pressure, device)?;
    let begun = Instant::now();
    let mut users: Vec<_> = (0..setting.cpus).map(|cpu| User::new(vm, cpu)).collect();
    let mut gauge = Gauge::new(vm);
    let Prepared { actors, is_common } = workload.prepare(&mut users[0], setting.cpus)?;
    let mut outcome = Outcome::default();
    let mut actors: Vec<_> = actors.into_iter().map(Some).collect();
    while actors.iter().any(Option::is_some) {
        for (cpu, place) in actors.iter_mut().enumerate() {
            machine.set_cpu(cpu);
            if let Some(actor) = place
                && actor.step(&mut users[cpu])? == Step::Done
            {
                gauge.look(vm);
                outcome.audit(vm);
                *place = None;
                vm.switch_to(None);
            }
        }
        let accesses = users.iter().map(|user| user.accesses).sum();
        if gauge.is_due(accesses) {
            let resident = actors.iter().flatten().map(|actor| actor.resident());
            let resident = if is_common { resident.max().unwrap_or(0) } else { resident.sum() };
            gauge.sample(vm, accesses, resident);
        }
    }
    let mut touched = Touched::new();
    for user in &users {
        add_user(&mut outcome, user);
        touched.merge(&user.touched);
    }
    outcome.pages_touched = touched.count();
    outcome.elapsed = begun.elapsed();
    (0..setting.cpus).for_each(|cpu| hosted.idle(cpu));
    outcome.oracle.report_all(hosted.take_violations());
    outcome.processors = machine.total_counters();
    gauge.finish(vm, &mut outcome);
    outcome.audit(vm);
    Ok(outcome)
}
