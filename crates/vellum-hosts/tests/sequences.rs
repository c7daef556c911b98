//! Random sequences of operations on the core and on the reference model, on every architecture: some hundreds on each,
//! or as many as `VELLUM_SEQUENCES` says, from `VELLUM_SEED` on, if that is set. As released: the tests of the
//! laboratory run many more on some of them, with the core's own assertions.

use std::thread;
use vellum_hosts::HostArch;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Runs `test` on every architecture, with the seeds that are its.
fn on_each(default: u64, test: impl Fn(HostArch, std::ops::Range<u64>) + Sync) {
    let (first, count) = (variable("VELLUM_SEED", 0), variable("VELLUM_SEQUENCES", default));
    thread::scope(|scope| {
        for (part, &arch) in (100_u64..).zip(HostArch::ALL) {
            let first = first + (part << 40);
            let test = &test;
            scope.spawn(move || test(arch, first..first + count));
        }
    });
}

#[test]
fn each_agrees_with_the_model() {
    on_each(150, |arch, seeds| match arch.run_seeds(seeds) {
        Ok(stats) => println!("{}: {stats}", arch.name()),
        Err(report) => panic!("{report}"),
    });
}

#[test]
fn each_agrees_with_the_model_under_pressure() {
    on_each(50, |arch, seeds| match arch.run_seeds_under_pressure(seeds, false) {
        Ok(stats) => println!("{}: {stats}", arch.name()),
        Err(report) => panic!("{report}"),
    });
}

#[test]
fn each_survives_failing_allocations() {
    on_each(30, |arch, seeds| match arch.sweep_seeds(seeds) {
        Ok(found) => println!("{}: {} allocations, {} runs failed", arch.name(), found.requests, found.failed),
        Err(error) => panic!("{}: {error}", arch.name()),
    });
}
