//! `vellum run`: a trace or a workload, and the report on it.

use crate::output::print;
use crate::progress::Progress;
use crate::report::{Report, json, text};
use crate::run_args::{RunArgs, Switch, Thp};
use crate::{BAD_INPUT, FAILED, fail};
use std::path::Path;
use std::process::ExitCode;
use vellum::ops::HugePages;
use vellum_hosts::HostArch;
use vellum_lab::outcome::{Outcome, RunError};
use vellum_lab::pressure::Pressure;
use vellum_lab::replay::ReplayOptions;
use vellum_lab::trace::TraceReader;
use vellum_lab::workload::{Fitting, Setting, Workload};

/// The trace that is run when nothing is named.
static BUNDLED: &[u8] = include_bytes!("../../../traces/sort.vtrace");
const BUNDLED_NAME: &str = "sort.vtrace (bundled)";
const BUNDLED_ACCESSES: u64 = 27_953_366;
/// log2 of the bytes of a page of the programs that traces are of.
const TRACED_PAGE_SHIFT: u32 = 12;

/// On what to run.
struct Machine {
    cpus: Option<usize>,
    memory: u64,
    arch: HostArch,
    pressure: Pressure,
}

/// What to run.
enum Source {
    Trace { reader: TraceReader, name: String, accesses: Option<u64> },
    Workload { workload: Workload, is_deterministic: bool },
}

/// Replays the bundled trace.
pub fn bundled() -> ExitCode {
    let machine = Machine { cpus: None, memory: 1 << 30, arch: HostArch::X86_64, pressure: Pressure::NONE };
    bundled_source().map_or_else(|code| code, |source| execute(source, &machine, false))
}

/// Runs what the command line says.
pub fn run(args: &RunArgs) -> ExitCode {
    if let Some(option) = args.later.given() {
        return fail(BAD_INPUT, format_args!("{option}: not supported yet"));
    }
    let source = match &args.target {
        Some(target) => named_source(target, args.deterministic),
        None => bundled_source(),
    };
    let source = match source {
        Ok(source) => source,
        Err(code) => return code,
    };
    let fitting = match &source {
        Source::Workload { workload, .. } => workload.fitting(args.memory),
        Source::Trace { .. } => Fitting {
            memory_bytes: args.memory.unwrap_or(1 << 30),
            swap_bytes: 0,
            nodes: 1,
            huge_pages: HugePages::Advised,
        },
    };
    let Some(arch) = args.arch.host() else {
        return fail(BAD_INPUT, "--arch tiny: its addresses are too short for those of real programs");
    };
    match pressure(args, fitting) {
        Ok(pressure) => {
            let machine = Machine { cpus: args.cpus, memory: fitting.memory_bytes, arch, pressure };
            execute(source, &machine, args.json)
        }
        Err(wrong) => fail(BAD_INPUT, wrong),
    }
}

/// What the command line says about the shortage of memory, or what fits.
fn pressure(args: &RunArgs, fitting: Fitting) -> Result<Pressure, &'static str> {
    let zswap_bytes = args.zswap.unwrap_or(0);
    if zswap_bytes >= fitting.memory_bytes {
        return Err("--zswap: compressed pages are kept in --memory, so it must be less than that");
    }
    Ok(Pressure {
        nodes: args.nodes.unwrap_or(fitting.nodes),
        swap_bytes: args.swap.unwrap_or(fitting.swap_bytes),
        zswap_bytes,
        is_batched: args.batch == Switch::On,
        huge_pages: args.thp.map_or(fitting.huge_pages, Thp::policy),
    })
}

fn bundled_source() -> Result<Source, ExitCode> {
    let reader = TraceReader::from_reader(BUNDLED_NAME, Box::new(BUNDLED)).map_err(|error| fail(BAD_INPUT, error))?;
    Ok(Source::Trace { reader, name: BUNDLED_NAME.into(), accesses: Some(BUNDLED_ACCESSES) })
}

fn named_source(target: &Path, is_deterministic: bool) -> Result<Source, ExitCode> {
    if let Some(workload) = target.to_str().and_then(Workload::named) {
        return Ok(Source::Workload { workload, is_deterministic });
    }
    if target.as_os_str() != "-" && !target.exists() {
        let names: Vec<_> = Workload::ALL.iter().map(|workload| workload.name()).collect();
        let (target, names) = (target.display(), names.join(", "));
        return Err(fail(BAD_INPUT, format_args!("{target}: no such file, and no such workload ({names})")));
    }
    let reader = TraceReader::open(target).map_err(|error| fail(BAD_INPUT, error))?;
    let name = target.file_name().unwrap_or(target.as_os_str()).to_string_lossy().into_owned();
    let name = if name == "-" { reader.name().to_string() } else { name };
    Ok(Source::Trace { reader, name, accesses: None })
}

fn execute(source: Source, machine: &Machine, as_json: bool) -> ExitCode {
    let frames = machine.memory >> machine.arch.page_shift();
    let is_trace = matches!(source, Source::Trace { .. });
    if is_trace && machine.arch.page_shift() != TRACED_PAGE_SHIFT {
        let (name, kib) = (machine.arch.name(), 1u64 << (machine.arch.page_shift() - 10));
        return fail(
            BAD_INPUT,
            format_args!("--arch {name}: its pages have {kib} KiB, and those of traces have 4 KiB"),
        );
    }
    let cpus = machine.cpus.unwrap_or_else(|| if is_trace { 1 } else { host_cpus() });
    let (name, result) = match source {
        Source::Trace { reader, name, accesses } => {
            let progress = Progress::new(&name, accesses);
            let options = ReplayOptions { cpus, frames, checks_tables: true, pressure: machine.pressure };
            (name, machine.arch.replay(reader, &options, &mut |accesses| progress.at(accesses)))
        }
        Source::Workload { workload, is_deterministic } => {
            let setting = Setting { cpus, frames, is_deterministic, pressure: machine.pressure };
            (workload.name().to_string(), machine.arch.run(workload, &setting))
        }
    };
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => return fail(exit_code(&error), error),
    };
    let report = Report {
        workload: &name,
        arch: machine.arch.name(),
        page_bytes: 1 << machine.arch.page_shift(),
        cpus,
        memory_bytes: machine.memory,
        pressure: &machine.pressure,
        is_trace,
        outcome: &outcome,
    };
    let printed = print(&if as_json { json::render(&report) } else { text::render(&report) });
    if outcome.is_clean() { printed } else { fail(FAILED, complaint(&name, &outcome)) }
}

fn complaint(name: &str, outcome: &Outcome) -> String {
    match &outcome.audit {
        Some(Err(why)) => format!("{name}: the audit failed: {why}"),
        _ => format!("{name}: {} violations", outcome.oracle.violations),
    }
}

fn exit_code(error: &RunError) -> u8 {
    match error {
        RunError::Trace(_) | RunError::Address { .. } | RunError::Machine(_) | RunError::Unfit(_) => BAD_INPUT,
        RunError::OutOfMemory { .. } | RunError::Workload(_) => FAILED,
    }
}

fn host_cpus() -> usize {
    std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8))
}
