//! Commands in a copy of the tree: what they say goes to a file, and they are ended in time.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was content.
    Well,
    /// It was not; the end of what it said.
    Badly(String),
    /// It was ended, being late; the end of what it said.
    Late(String),
}

/// How often it is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(50);

/// How many times as many random sequences the tests run as in the short form, which every run of all tests has.
const LONGER: &str = "3";

/// `cargo` in the tree at `tree`, with what it builds in there.
pub fn cargo(tree: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(tree).env("CARGO_TARGET_DIR", tree.join("target")).arg("--locked");
    command.env("VELLUM_LONGER", LONGER);
    command
}

/// Runs a command, whose output goes to `log`, for `limit` at most.
pub fn run(mut command: Command, log: &Path, limit: Option<Duration>) -> Ended {
    let begun = Instant::now();
    let end = match start(&mut command, log) {
        Err(error) => return Ended::Badly(format!("{:?}: {error}", command.get_program())),
        Ok(child) => wait(child, limit.map(|limit| begun + limit)),
    };
    let said = || fs::read_to_string(log).map_or_else(|error| error.to_string(), |text| last_lines(&text));
    match end {
        Err(error) => Ended::Badly(error.to_string()),
        Ok(None) => Ended::Late(said()),
        Ok(Some(status)) if status.success() => Ended::Well,
        Ok(Some(status)) => Ended::Badly(format!("{status}: {}", said())),
    }
}

fn start(command: &mut Command, log: &Path) -> io::Result<Child> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let out = File::create(log)?;
    command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out).spawn()
}

/// Waits for the end; `None` if it was ended for being late.
fn wait(mut child: Child, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
    let Some(deadline) = deadline else { return child.wait().map(Some) };
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            end(&mut child)?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// Ends a child, and what it has started: `cargo test` has started the tests.
fn end(child: &mut Child) -> io::Result<()> {
    let started = descendants(child.id());
    child.kill()?;
    for process in started {
        Command::new("kill").args(["-KILL", &process.to_string()]).stderr(Stdio::null()).status()?;
    }
    child.wait().map(|_| ())
}

/// The processes that a process has started, and those that they have.
fn descendants(process: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, parent(process)?)))
        .collect();
    let mut found = vec![process];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.iter().filter(|&&(_, its)| its == parent).map(|&(process, _)| process));
        next += 1;
    }
    found.split_off(1)
}

/// Who has started a process: in its `stat` the second word behind its name, which is in brackets.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The last lines that say something, in one.
fn last_lines(text: &str) -> String {
    const LINES: usize = 3;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let error = lines.iter().copied().find(|line| line.starts_with("error"));
    let last = lines[lines.len().saturating_sub(LINES)..].join(" / ");
    error.map_or(last, str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Option<Duration>) -> Ended {
        let log = std::env::temp_dir().join(format!("vellum-faults-{}-{:x}", std::process::id(), script.len()));
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let ended = run(command, &log, limit);
        fs::remove_file(&log).expect("the log");
        ended
    }

    #[test]
    fn commands_end_well_badly_or_late() {
        assert_eq!(shell("echo fine", None), Ended::Well);
        assert!(
            matches!(shell("echo one; echo two >&2; exit 3", None), Ended::Badly(why) if why.ends_with("one / two"))
        );
        let begun = Instant::now();
        let late = shell("sleep 61 & echo $!; wait", Some(Duration::from_millis(500)));
        let Ended::Late(sleeper) = late else { unreachable!("{late:?}") };
        assert!(begun.elapsed() < Duration::from_secs(30));
        // What it has started has ended, too.
        let is_gone =
            || !Command::new("kill").args(["-0", &sleeper]).stderr(Stdio::null()).status().expect("kill").success();
        assert!((0..100).any(|_| {
            thread::sleep(LOOK);
            is_gone()
        }));
    }
}
