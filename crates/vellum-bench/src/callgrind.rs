//! Counting instructions: this program runs itself under callgrind, which counts inside the measured window only.

use super::BenchError;
use std::path::Path;
use std::process::{Command, Stdio};

/// Tells the program that it is run to be measured, and what: `NAME` or `peer:NAME`.
pub const CHILD: &str = "VELLUM_BENCH_CHILD";

/// Counting begins when the first of these is entered and ends when it is left; inside the second it pauses.
const TOGGLES: [&str; 2] = ["--toggle-collect=*measured_window*", "--toggle-collect=*cleared_apart*"];

/// The instructions in the measured window of `job`.
pub fn instructions(job: &str) -> Result<u64, BenchError> {
    let program = std::env::current_exe().map_err(|error| BenchError::Callgrind(error.to_string()))?;
    let file = format!("vellum-bench-{}-{}.callgrind", std::process::id(), job.replace(':', "-"));
    let file = std::env::temp_dir().join(file);
    let result = run(&program, &file, job);
    let _ = std::fs::remove_file(&file);
    result
}

fn run(program: &Path, file: &Path, job: &str) -> Result<u64, BenchError> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .args(TOGGLES)
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .arg("bench")
        .env(CHILD, job)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BenchError::NoValgrind,
            _ => BenchError::Callgrind(error.to_string()),
        })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = text.lines().rfind(|line| !line.starts_with("==")).or(text.lines().last()).unwrap_or("");
        return Err(BenchError::Callgrind(format!("{}: {}", output.status, last.trim())));
    }
    let text = std::fs::read_to_string(file).map_err(|error| BenchError::Callgrind(error.to_string()))?;
    total(&text).filter(|&total| total > 0).ok_or_else(|| BenchError::Callgrind("it counted nothing".to_string()))
}

/// The total in a file of callgrind's.
fn total(text: &str) -> Option<u64> {
    text.lines().rev().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_total_is_found() {
        assert_eq!(total("version: 1\nevents: Ir\nfn=(1) f\n1 2\ntotals: 123\n"), Some(123));
        assert_eq!(total("version: 1\n"), None);
    }
}
