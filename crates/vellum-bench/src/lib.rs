//! `vellum bench`: what the core's operations cost.
//!
//! Instructions are counted by callgrind in one run; pages being cleared are left out, since every memory manager does
//! that alike. The time is the median of several runs outside callgrind, clearing included. Atomic read-modify-writes
//! and cache lines written are those that go through `vellum::sync`, on a machine that records them: the CPU's own
//! lines and the page-table entry count too. Everything an operation puts off is inside the window.
//!
//! `vellum bench growth` counts what could grow with the number of something, over a range of it; `vellum bench
//! sections`, for how long pre-emption is off; `vellum bench stacks`, how deep the stack gets.

mod callgrind;
mod growth;
mod huge;
mod jobs;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod large;
mod machine;
#[cfg(target_arch = "x86_64")]
mod peers;
mod pressure;
mod record;
mod report;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod sections;
mod shaped;
mod sparse;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod stacks;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod step;
mod table;
mod window;

use report::Figures;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use table::{BENCHES, Bench};
use window::{Mode, Sums, Window};

/// Runs for the time, of which the median counts.
const TIMED_RUNS: usize = 5;

/// Why nothing is reported.
enum BenchError {
    NoValgrind,
    Callgrind(String),
    /// The name, and those that there are.
    UnknownName(String, Vec<&'static str>),
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Trace(String),
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    NoTrace,
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::NoValgrind => f.write_str(
                "vellum: valgrind, which counts the instructions, is not installed (Debian's package: valgrind)",
            ),
            BenchError::Callgrind(why) => write!(f, "vellum: callgrind failed: {why}"),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            BenchError::Trace(why) => write!(f, "vellum: stepping through the job failed: {why}"),
            #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
            BenchError::NoTrace => f.write_str("vellum: sections and stacks are measured on Linux on x86-64 only"),
            BenchError::UnknownName(name, known) => {
                write!(f, "vellum: there is no bench called {name}; there are {}", known.join(", "))
            }
        }
    }
}

impl BenchError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            BenchError::Callgrind(_) => 1,
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            BenchError::Trace(_) => 1,
            #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
            BenchError::NoTrace => 2,
            BenchError::NoValgrind | BenchError::UnknownName(..) => 2,
        })
    }
}

/// Instead of an operation: for how long pre-emption is off, and how deep the stack gets; of those that are named
/// behind it.
const SECTIONS: &str = "sections";
/// Instead of an operation: how deep the stack gets alone, which is quicker.
const STACKS: &str = "stacks";
/// Before the name of a job that is stepped through.
const STEPPED: &str = "step:";
/// Instead of an operation: what grows with the number of something.
const GROWTH: &str = "growth";

/// Measures the operations called `names`, or all, and prints a table, or a JSON document.
pub fn run(names: &[String], json: bool) -> ExitCode {
    let result = match std::env::var(callgrind::CHILD) {
        Ok(job) => run_measured(&job),
        Err(_) => match names.split_first() {
            Some((first, names)) if first == SECTIONS => sections(names, json),
            Some((first, names)) if first == STACKS => stacks(names, json),
            Some((first, [])) if first == GROWTH => {
                let all = growth::all();
                print(&if json { report::document(&all) } else { growth::table(&all) });
                Ok(())
            }
            _ => measure_all(names, json),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            error.exit_code()
        }
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn sections(names: &[String], json: bool) -> Result<(), BenchError> {
    sections::run(names, json)
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn sections(_names: &[String], _json: bool) -> Result<(), BenchError> {
    Err(BenchError::NoTrace)
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn stacks(names: &[String], json: bool) -> Result<(), BenchError> {
    stacks::run(names, json)
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn stacks(_names: &[String], _json: bool) -> Result<(), BenchError> {
    Err(BenchError::NoTrace)
}

/// The part of the program that runs under callgrind, or is stepped through.
fn run_measured(job: &str) -> Result<(), BenchError> {
    let unknown = || unknown(job);
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    if let Some(name) = job.strip_prefix(STEPPED) {
        large::find(name).ok_or_else(unknown)?(&mut Window::new(Mode::Step));
        return Ok(());
    }
    let measured = match job.strip_prefix("peer:") {
        Some(name) => table::find(name).and_then(|bench| bench.peer),
        None => table::find(job).map(|bench| bench.job),
    };
    measured.ok_or_else(unknown)?(&mut Window::new(Mode::Instructions));
    Ok(())
}

fn measure_all(names: &[String], json: bool) -> Result<(), BenchError> {
    let found = names.iter().map(|name| table::find(name).ok_or_else(|| unknown(name)));
    let mut benches = found.collect::<Result<Vec<_>, _>>()?;
    if benches.is_empty() {
        benches = BENCHES.iter().collect();
    }
    let shows_progress = std::io::stderr().is_terminal();
    let mut all = Vec::new();
    for bench in benches {
        if shows_progress {
            eprint!("\r\x1b[K{}", bench.name);
        }
        let figures = measure(bench)?;
        if shows_progress {
            eprint!("\r\x1b[K");
        }
        if !json {
            let head = if all.is_empty() { report::head() } else { String::new() };
            print(&format!("{head}{}", report::row(&figures)));
        }
        all.push(figures);
    }
    if json {
        print(&report::json(&all));
    }
    Ok(())
}

fn unknown(name: &str) -> BenchError {
    unknown_among(name, BENCHES.iter().map(|bench| bench.name).chain([GROWTH, SECTIONS, STACKS]))
}

fn unknown_among(name: &str, known: impl Iterator<Item = &'static str>) -> BenchError {
    BenchError::UnknownName(name.to_string(), known.collect())
}

/// Prints; a reader who has gone away is no error.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

fn measure(bench: &Bench) -> Result<Figures, BenchError> {
    let instructions = callgrind::instructions(bench.name)? as f64;
    let peer = bench.peer.map(|job| {
        let instructions = callgrind::instructions(&format!("peer:{}", bench.name))? as f64;
        Ok(instructions / sums(job, Mode::Time).repetitions as f64)
    });
    let recorded = sums(bench.recorded, Mode::Record);
    let mut times = Vec::from_iter((0..TIMED_RUNS).map(|_| sums(bench.job, Mode::Time)));
    times.sort_by_key(|sums| sums.nanoseconds);
    let timed = times[TIMED_RUNS / 2];
    let each = |sum: u64, sums: Sums| sum as f64 / sums.repetitions as f64;
    let instructions = instructions / timed.repetitions as f64;
    Ok(Figures {
        name: bench.name,
        unit: bench.unit,
        repetitions: timed.repetitions,
        instructions,
        bar: bench.bar,
        nanoseconds: each(timed.nanoseconds, timed),
        atomics: each(recorded.modifies, recorded),
        lines_written: each(recorded.lines_written, recorded),
        peer: peer.transpose()?.map(|theirs: f64| theirs / instructions),
    })
}

fn sums(job: fn(&mut Window), mode: Mode) -> Sums {
    let mut window = Window::new(mode);
    job(&mut window);
    window.sums
}
