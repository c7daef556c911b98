//! `vellum check`: what it finds, how that is run again, and how it ends.

mod common;

use common::{complaint, document, vellum};
use serde_json::Value;
use std::process::{Command, Output};

const MODES: [&str; 10] = [
    "tiny",
    "tiny-assist",
    "tiny-assist-sc",
    "tiny-blind",
    "tiny-broadcast",
    "x86_64",
    "aarch64",
    "riscv64",
    "ppc64",
    "sparc64",
];

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_list_has_its_form() {
    let list = document(&vellum(&["check", "--list", "--json"]));
    let entries = list.as_array().unwrap();
    assert!(!entries.is_empty());
    for entry in entries {
        let strings = |key: &str| {
            let values = entry[key].as_array().unwrap();
            assert!(values.iter().all(Value::is_string), "{entry}");
            values.len()
        };
        assert!(entry["id"].is_string() && entry["title"].is_string() && entry["thread"].is_string(), "{entry}");
        assert!(strings("guards") + strings("guards_redundant") > 0 || entry["known"].is_string(), "{entry}");
        let modes = entry["modes"].as_object().unwrap();
        assert!(!modes.is_empty() && modes.keys().all(|mode| MODES.contains(&mode.as_str())), "{entry}");
        assert!(modes.values().all(|mode| mode == "safe" || mode == "unsafe"), "{entry}");
        assert!(entry["seconds"].is_number() || entry["seconds"].is_null(), "{entry}");
    }
    let text = text(&vellum(&["check", "--list"]));
    assert_eq!(text.lines().count(), entries.len() + 1, "{text}");
}

#[test]
fn both_directions_are_as_expected() {
    let output = vellum(&["check", "b1"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("exhaustive to 2 pre-emptions and 1 surprise: clean"), "{text}");
    assert!(text.contains("without FlushBeforeFree: I-TLBFREE after "), "{text}");
    let sum = text.lines().last().unwrap();
    assert!(
        sum.starts_with("10 searches, ") && sum.ends_with(": 10 as expected, 0 cut off by time, 0 not as expected"),
        "{sum}"
    );

    let rows = document(&vellum(&["check", "B1", "--arch", "tiny", "--json"]));
    let [on, off] = &rows.as_array().unwrap()[..] else { panic!("{rows}") };
    for row in [on, off] {
        assert!(row["id"] == "B1" && row["mode"] == "tiny" && row["bound"] == 2 && row["surprises"] == 1, "{row}");
        assert!(row["schedules"].as_u64().unwrap() > 0, "{row}");
    }
    assert!(on["order"] == "tso" && on["few"] == false && on["cut_off"] == false, "{on}");
    assert!(on["guard_off"].is_null() && on["violation"].is_null() && on["exhaustive"] == true, "{on}");
    assert!(off["guard_off"] == "FlushBeforeFree" && off["exhaustive"] == false, "{off}");
    assert!(off["violation"]["invariant"] == "I-TLBFREE" && off["violation"]["schedule"].is_string(), "{off}");
}

#[test]
fn a_bound_can_be_asked_for() {
    let schedules = |bound: &str| {
        let rows = document(&vellum(&["check", "B1", "--arch", "tiny", "--bound", bound, "--json"]));
        let row: &Value = &rows[0];
        assert_eq!(row["exhaustive"], true, "{row}");
        assert_eq!([&row["bound"], &row["surprises"]].map(Value::to_string).join(","), bound);
        row["schedules"].as_u64().unwrap()
    };
    let (small, large) = (schedules("1,1"), schedules("2,1"));
    assert!(small < large, "{small} {large}");
}

/// A diagram ends in a command which, as it stands, draws the same once more.
#[test]
fn a_violation_is_drawn_and_run_again() {
    let output = vellum(&["check", "B1", "--without", "FlushBeforeFree"]);
    let found = text(&output);
    assert_eq!(output.status.code(), Some(1), "{found}");
    let diagram = found.split_once("\n\n").unwrap().1;
    assert!(diagram.contains("CPU0 ") && diagram.contains("CPU1 "), "{diagram}");
    let lines: Vec<&str> = diagram.lines().collect();
    let [.., broken, command] = &lines[..] else { panic!("{diagram}") };
    assert!(broken.starts_with("broken: I-TLBFREE"), "{diagram}");
    assert!(command.starts_with("vellum check B1 --arch tiny --without FlushBeforeFree --replay "), "{command}");

    let script = format!("vellum() {{ '{}' \"$@\"; }}; {command}", env!("CARGO_BIN_EXE_vellum"));
    let again = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let drawn = text(&again);
    assert_eq!(again.status.code(), Some(1), "{drawn}");
    assert!(again.stderr.is_empty());
    assert_eq!(found.split_once("\n\n").unwrap().1, drawn);
}

/// A full diagram says what decides; a brief one is part of it.
#[test]
fn diagrams_show_what_decides() {
    let drawn = |id: &str, arch: &str, guard: &str, more: &[&str]| {
        text(&vellum(&[&["check", id, "--arch", arch, "--without", guard], more].concat()))
    };
    let has = |full: &str, parts: &[&str]| parts.iter().for_each(|part| assert!(full.contains(part), "{part}: {full}"));
    let full = drawn("B16", "tiny", "StaleCheck", &[]);
    let parts = [
        "leaf F143 (0x4000): unlinked\n",
        "… pre-empted in space/table.rs:",
        ": refs 0→1, mapped 0→1\n",
        "(CPU 1 has it)\n",
        "waits for CPU 1 to acknowledge\n",
        "CPU 1 acknowledges request 1\n",
        "PTE 1 of unlinked F143: none → F146 rw-ade\n",
        "\nfree F144\n",
    ];
    has(&full, &parts);
    has(
        &drawn("B15", "tiny", "EmptyUnderLock", &[]),
        &["waits for the lock of leaf F143 (0x4000)\n", "(CPU 1 has it)\n"],
    );
    let brief = drawn("B16", "tiny", "StaleCheck", &["--brief"]);
    assert!(brief.contains("… pre-empted\n") && brief.contains("IPI → CPU 1\n"), "{brief}");
    assert!(!brief.contains("free F") && !brief.contains("refs") && !brief.contains("waits"), "{brief}");
    assert!(brief.lines().count() < full.lines().count() && brief.contains(" --brief\n"), "{brief}");
    let several = drawn("E1", "tiny", "SlotCountUndone", &[]);
    // Which frame it is, is for the core to say.
    let (_, cached) = several.split_once("slot 0:0: caches ").unwrap();
    let page = cached.split_whitespace().next().unwrap();
    let (stored, shown) =
        (format!("{page}: dirty, up to date\n"), format!("P1 PTE[0x4000]: {page} r---d- → swap 0:0\n"));
    has(&several, &[stored.as_str(), "slot 0:0: entries 0→1\n", shown.as_str()]);
    let buffered = drawn("J1", "tiny", "TargetBarrier", &[]);
    let (before, after) = buffered.split_once("(buffered) CPUs to flush: {1} → {0,1}\n").unwrap();
    assert!(!before.contains("CPUs to flush") && after.contains("\nCPUs to flush: {1} → {0,1}\n"), "{buffered}");
}

#[test]
fn a_schedule_that_breaks_nothing() {
    let output = vellum(&["check", "B1", "--arch", "tiny", "--replay", "-"]);
    let drawn = text(&output);
    assert_eq!(output.status.code(), Some(0), "{drawn}");
    assert!(drawn.contains("nothing breaks\n") && drawn.ends_with("--arch tiny --replay '-'\n"), "{drawn}");
}

#[test]
fn safe_without_the_guard() {
    let output = vellum(&["check", "T2", "--arch", "tiny", "--without", "OfScenario"]);
    let found = text(&output);
    assert_eq!(output.status.code(), Some(0), "{found}");
    assert!(output.stderr.is_empty() && found.ends_with(": clean\n") && found.lines().count() == 1, "{found}");
}

#[test]
fn a_guard_of_others() {
    let output = vellum(&["check", "B1", "--arch", "tiny", "--without", "ForkGate"]);
    let found = text(&output);
    assert_eq!(output.status.code(), Some(0), "{found}");
    assert!(found.starts_with("note: B1 is not about ForkGate, but about FlushBeforeFree\n"), "{found}");
}

/// No result is never shown as one, nor as a guard that protects nothing.
#[test]
fn a_search_that_is_cut_off() {
    let long = ["--bound", "9,9", "--seconds", "0.1"];
    let output = vellum(&[&["check", "B1", "--arch", "tiny"], &long[..]].concat());
    let found = text(&output);
    assert_eq!(output.status.code(), Some(0), "{found}");
    assert!(found.lines().next().unwrap().contains("NOT exhaustive"), "{found}");
    assert!(found.ends_with(" 0 not as expected\n") && !found.contains("UNEXPECTED"), "{found}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("cut off by time"));
    let output = vellum(&[&["check", "B1", "--arch", "tiny", "--without", "ForkGate"], &long[..]].concat());
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("nothing broke within 0 s: proves nothing"), "{}", text(&output));
    assert!(String::from_utf8(output.stderr).unwrap().contains("NOT exhaustive"));
}

#[test]
fn what_was_possible_is_said() {
    let line = |bound| text(&vellum(&["check", "B1", "--arch", "tiny", "--without", "ForkGate", "--bound", bound]));
    let found = line("1,0");
    assert!(found.contains("exhaustive to 1 pre-emption, no surprises: sequentially consistent: clean"), "{found}");
    let found = line("0,1");
    assert!(found.contains("exhaustive to no pre-emptions and 1 surprise: clean (few schedules)"), "{found}");
}

#[test]
fn bad_input() {
    let tiny = ["check", "B1", "--arch", "tiny"];
    for (rest, reason) in [
        (&["--replay", "1c>200"][..], "does not fit"),
        (&["--replay", "9999999c>1"], "goes on after"),
        (&["--replay", "1c"], "not a part of a schedule"),
        (&["--replay", ""], "not a part of a schedule"),
        (&["--replay", "-", "--json"], "--json"),
        (&["--replay", "-", "--long"], "--long"),
        (&["J1", "--replay", "-"], "one scenario"),
        (&["--bound", "x"], "--bound"),
        (&["--bound", "2,"], "--bound"),
        (&["--bound", "2,1", "--long"], "--long"),
        (&["--seconds", "0"], "--seconds"),
        (&["--seconds", "NaN"], "--seconds"),
        (&["--without", "Nonsense"], "FlushBeforeFree"),
        (&["--without", ""], "--without"),
        (&["--list"], "--list"),
        (&["--all"], "--all"),
    ] {
        let line = complaint(&vellum(&[&tiny, rest].concat()), 2);
        assert!(line.contains(reason), "{rest:?}: {line}");
    }
    for (arguments, reason) in [
        (&["check"][..], "--list"),
        (&["check", "B999"], "B999"),
        (&["check", "B1", "--arch", "m68k"], "tiny-broadcast"),
        (&["check", "B1", "--replay", "-"], "--arch"),
        (&["check", "--all", "--arch", "tiny", "--replay", "-"], "--replay"),
        (&["check", "--list", "--all"], "--list"),
    ] {
        let line = complaint(&vellum(arguments), 2);
        assert!(line.contains(reason), "{arguments:?}: {line}");
    }
}
