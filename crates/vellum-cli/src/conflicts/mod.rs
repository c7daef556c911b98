//! `vellum conflicts`: the cache lines that operations of two CPUs both write.

mod report;

use crate::output::print;
use crate::run_args::ConflictsArgs;
use crate::{BAD_INPUT, FAILED, fail};
use report::Report;
use std::process::ExitCode;
use vellum_lab::conflicts::{Operation, Pair};

/// Measures what the command line says. Fails if a pair of operations writes a line in common that it may not.
pub fn run(args: &ConflictsArgs) -> ExitCode {
    let Some(arch) = args.arch.host() else {
        return fail(BAD_INPUT, "--arch tiny: its address space is too small for two ranges");
    };
    let operations = match operations(&args.operations) {
        Ok(operations) => operations,
        Err(unknown) => {
            let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
            return fail(BAD_INPUT, format_args!("{unknown}: no such operation ({})", names.join(", ")));
        }
    };
    let pairs = match arch.conflicts(&operations) {
        Ok(pairs) => pairs,
        Err(error) => return fail(FAILED, error),
    };
    let report = Report { arch: arch.name(), operations: &operations, pairs: &pairs };
    let printed = print(&if args.json { report.json() } else { report.text() });
    match pairs.iter().filter(|pair| is_conflict(pair)).count() {
        0 => printed,
        1 => fail(FAILED, "1 pair of operations writes a common line"),
        many => fail(FAILED, format_args!("{many} pairs of operations write common lines")),
    }
}

fn is_conflict(pair: &Pair) -> bool {
    pair.conflicts().next().is_some()
}

/// The operations of these names, each once and in their usual order; all of them if there are no names.
fn operations(names: &[String]) -> Result<Vec<Operation>, &str> {
    if names.is_empty() {
        return Ok(Operation::ALL.to_vec());
    }
    let named = names.iter().map(|name| Operation::named(name).ok_or(name.as_str()));
    let named: Vec<_> = named.collect::<Result<_, _>>()?;
    Ok(Operation::ALL.into_iter().filter(|operation| named.contains(operation)).collect())
}
