//! `vellum record`: a trace of a real program.

use crate::report::text::count;
use crate::run_args::RecordArgs;
use crate::{BAD_INPUT, FAILED, fail};
use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use vellum_lab::trace::{RecordOptions, Recording, record};

/// Records, and says on standard error what was written.
pub fn run(args: &RecordArgs) -> ExitCode {
    let Some((program, arguments)) = args.program.split_first() else {
        return fail(BAD_INPUT, "record: no program is given");
    };
    if !is_program(program) {
        return fail(BAD_INPUT, format_args!("{}: no such program", program.display()));
    }
    let options = RecordOptions::new(&args.output, program, arguments.to_vec());
    let recording = match record(&RecordOptions { is_scrubbed: !args.unscrubbed, ..options }) {
        Ok(recording) => recording,
        Err(error) => return fail(BAD_INPUT, error),
    };
    describe(&recording);
    if recording.status.success() {
        return ExitCode::SUCCESS;
    }
    fail(FAILED, format_args!("{}: {}", program.display(), recording.status))
}

/// Whether there is such a file, or one in `PATH`: valgrind would use several lines to say so.
fn is_program(program: &OsStr) -> bool {
    let path = Path::new(program);
    if path.components().nth(1).is_some() || path.has_root() {
        return path.is_file();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(path).is_file())
}

fn describe(recording: &Recording) {
    for file in &recording.files {
        let (accesses, bytes) = (count(file.summary.accesses), count(file.bytes));
        eprintln!("{}: {accesses} accesses, {bytes} bytes", file.path.display());
        for warning in &file.warnings {
            eprintln!("{}: {warning}", file.path.display());
        }
    }
}
