//! The workloads, each on both machines.

use vellum::arch::{Aarch64, Arch, Sparc64, X86_64};
use vellum_lab::outcome::{Outcome, RunError};
use vellum_lab::pressure::Pressure;
use vellum_lab::workload::{Fitting, Setting, Workload};

/// Those that are about the shortage of memory.
const PRESSING: [Workload; 4] =
    [Workload::ReclaimScan, Workload::SwapStorm, Workload::MigrateNodes, Workload::TaggedHeap];

/// Runs one of them on little memory.
fn pressed<A: Arch>(workload: Workload, cpus: usize, is_deterministic: bool, is_batched: bool) -> Outcome {
    let fitting = workload.fitting(Some(4 << 20));
    let Fitting { memory_bytes, swap_bytes, nodes, huge_pages } = fitting;
    let pressure = Pressure { nodes, swap_bytes, zswap_bytes: 0, is_batched, huge_pages };
    let setting = Setting { cpus, frames: memory_bytes >> A::PAGE_SHIFT, is_deterministic, pressure };
    let outcome = tried::<A>(workload, &setting).unwrap_or_else(|error| panic!("{}: {error}", workload.name()));
    assert!(outcome.is_clean(), "{}: {:?} {:?}", workload.name(), outcome.oracle.first, outcome.audit);
    outcome
}

/// Runs it; on threads some times, as long as memory ends. What others have in their hands just then, reclaim does
/// not find, nor wait for: a fault of the core that is known.
fn tried<A: Arch>(workload: Workload, setting: &Setting) -> Result<Outcome, RunError> {
    const TRIES: usize = 5;
    let is_known = |result: &Result<Outcome, RunError>| matches!(result, Err(RunError::OutOfMemory { .. }));
    let mut result = workload.run::<A>(setting);
    for _ in 1..TRIES {
        if setting.is_deterministic || !is_known(&result) {
            break;
        }
        result = workload.run::<A>(setting);
    }
    result
}

#[test]
fn pressing_ones_run_clean_on_both_machines() {
    for (number, workload) in PRESSING.into_iter().enumerate() {
        for is_deterministic in [true, false] {
            let outcome = pressed::<Aarch64>(workload, 3, is_deterministic, number % 2 == 0);
            assert!(outcome.oracle.loads_checked > 1000, "{}", workload.name());
            assert_eq!(outcome.tag_traps > 0, workload == Workload::TaggedHeap);
        }
    }
    pressed::<Sparc64>(Workload::TaggedHeap, 2, true, true);
}

#[test]
fn batches_change_no_work() {
    for workload in [Workload::ReclaimScan, Workload::MigrateNodes] {
        let [on, off] = [true, false].map(|is_batched| pressed::<X86_64>(workload, 4, true, is_batched));
        assert_eq!(on.accesses, off.accesses, "{}", workload.name());
        assert!(on.processors.interrupts_sent * 20 < off.processors.interrupts_sent, "{}", workload.name());
    }
}

#[test]
fn what_they_need_is_said() {
    let error = |workload: Workload, nodes| {
        let pressure = Pressure { nodes, ..Pressure::NONE };
        let setting = Setting { cpus: 2, frames: 4096, is_deterministic: true, pressure };
        workload.run::<X86_64>(&setting).unwrap_err().to_string()
    };
    assert!(error(Workload::MigrateNodes, 1).contains("--nodes"));
    assert!(error(Workload::TaggedHeap, 2).contains("tags"));
}

#[test]
fn each_runs_clean_on_both_machines() {
    for workload in Workload::ALL.into_iter().filter(|workload| !PRESSING.contains(workload)) {
        assert_eq!(Workload::named(workload.name()), Some(workload));
        for (is_deterministic, nodes) in [(true, 3), (false, 1)] {
            let huge_pages = workload.fitting(None).huge_pages;
            let pressure = Pressure { nodes, huge_pages, ..Pressure::NONE };
            let setting = Setting { cpus: 3, frames: 16384, is_deterministic, pressure };
            let outcome = workload.run::<X86_64>(&setting).unwrap();
            let count = |name| outcome.counters.iter().find(|counter| counter.0 == name).unwrap().1;
            let are_huge = workload == Workload::HugeHeap;
            assert_eq!(count("thp_fault_alloc") > 20, are_huge, "{}", workload.name());
            assert_eq!(count("thp_split_pmd") > 20, are_huge, "{}", workload.name());
            assert!(outcome.is_clean(), "{}: {:?}", workload.name(), outcome.oracle.first);
            assert!(outcome.oracle.loads_checked > 1000, "{}", workload.name());
        }
    }
}
