//! Running the command. Each test program uses a part of this.
#![allow(dead_code)]

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The folder of the bundled traces.
pub fn traces() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vellum"));
    command.args(arguments).current_dir(std::env::temp_dir());
    command
}

/// Runs `vellum` with `arguments`, in a folder that has nothing to do with it.
pub fn vellum(arguments: &[&str]) -> Output {
    command(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs `vellum` with `input` on standard input.
pub fn vellum_with(arguments: &[&str], input: &[u8]) -> Output {
    let streams = || Stdio::piped();
    let mut child = command(arguments).stdin(streams()).stdout(streams()).stderr(streams()).spawn().unwrap();
    // It may stop reading early.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// The one JSON document on standard output of a run that ended well.
pub fn document(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(errors, "", "nothing on standard error");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one line on standard error of a run that ended with `code`, and printed nothing.
#[track_caller]
pub fn complaint(output: &Output, code: i32) -> String {
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{line}");
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    assert!(line.ends_with('\n') && line.starts_with("vellum: ") && line.len() > 15, "{line}");
    assert!(output.stdout.is_empty());
    line
}

/// A complete log around `body`.
pub fn log(body: &str) -> String {
    format!("==7== Lackey, an example Valgrind tool\n{body}==7== Exit code:       0\n")
}
