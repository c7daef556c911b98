//! Standard output.

use std::io::{self, Write};
use std::process::ExitCode;

/// Prints `text`. A reader that has gone away is no failure.
pub fn print(text: &str) -> ExitCode {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            crate::fail(crate::FAILED, format_args!("standard output: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}
