//! `vellum bench` as its users see it.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vellum"));
    command.arg("bench").args(arguments);
    command
}

fn ran(command: &mut Command) -> Output {
    command.output().expect("the command runs")
}

/// The one line of standard error.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "not one line: {text}");
    text
}

#[test]
fn an_unknown_name_is_bad_usage() {
    let output = ran(&mut bench(&["translate", "nothing-like-that"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let line = complaint(&output);
    assert!(line.contains("nothing-like-that") && line.contains("fault-anon"), "{line}");
}

#[test]
fn without_valgrind_the_package_is_named() {
    let output = ran(bench(&["translate"]).env("PATH", "/nowhere"));
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(complaint(&output).contains("Debian's package: valgrind"));
}

#[test]
fn one_operation_is_measured() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("skipped: valgrind is not installed");
        return;
    }
    let output = ran(&mut bench(&["translate", "--json"]));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let entry = &document[0];
    assert_eq!((&entry["name"], &entry["unit"]), (&"translate".into(), &"call".into()));
    for figure in ["instructions", "nanoseconds"] {
        assert!(entry[figure].as_f64().is_some_and(|figure| figure > 1.0), "{figure} in {entry}");
    }
    for figure in ["atomics", "shared_lines_written"] {
        assert!(entry[figure].as_f64().is_some_and(|figure| (0.0..100.0).contains(&figure)), "{figure} in {entry}");
    }
    assert!(entry["peers"].is_object());
}

/// However large the memory they work on: pre-emption is off for fifty thousand instructions at most, and eight KiB of
/// stack suffice.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn operations_on_large_memory_pause_and_need_little_stack() {
    // The first takes as long as all others, beside which it runs where there are two processors.
    let names = [
        "fork-scattered",
        "exit-scattered",
        "unmap-wide",
        "unmap",
        "exit",
        "protect",
        "fork",
        "maps",
        "fault-with-reclaim",
    ];
    let output = ran(bench(&["sections"]).args(names).arg("--json"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let entries = document.as_array().expect("a list");
    assert_eq!(entries.len(), names.len());
    for entry in entries {
        let figure = |name: &str| entry[name].as_u64().expect("a number");
        assert!(figure("instructions") > 1_000 && figure("sections") > 1, "nothing was seen: {entry}");
        assert!(figure("longest") <= 50_000 && figure("longest") > 100, "too long: {entry}");
        assert!(figure("stack") <= 8 << 10 && figure("stack") > 100, "too deep: {entry}");
    }
}

/// Of every operation that is measured, also of those that free memory while they allocate some.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn operations_need_little_stack() {
    let output = ran(&mut bench(&["stacks", "--json"]));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let entries = document.as_array().expect("a list");
    for name in
        ["boot", "fork", "fault-with-compression", "remap-striped", "exit-files", "swap-off", "move-pages", "compact"]
    {
        assert!(entries.iter().any(|entry| entry["name"] == name), "no {name}");
    }
    for entry in entries {
        let stack = entry["stack"].as_u64().expect("a number");
        assert!((100..=8 << 10).contains(&stack), "too deep: {entry}");
    }
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn what_can_be_stepped_through_is_named() {
    let output = ran(&mut bench(&["sections", "nothing-like-that"]));
    assert_eq!(output.status.code(), Some(2));
    let line = complaint(&output);
    assert!(line.contains("nothing-like-that") && line.contains("page-out"), "{line}");
}
