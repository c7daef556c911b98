//! `vellum conform`.

mod common;

use common::{complaint, document, vellum};
use std::process::Command;

#[test]
fn wrong_options() {
    for arguments in [
        &["--seconds", "0"][..],
        &["--seconds", "-1"],
        &["--seconds", "soon"],
        &["--seconds"],
        &["--operations", "0"],
        &["--operations", "-5"],
        &["--operations", "1.5"],
        &["--operations", "99999999999999999999"],
        &["--seed", "x"],
        &["--seed", "-1"],
        &["--pressure", "perhaps"],
        &["--pressure"],
        &["--differences", "--seconds", "5"],
        &["--differences", "--operations", "5"],
        &["mmap"],
        &["--long"],
    ] {
        complaint(&vellum(&[&["conform"], arguments].concat()), 2);
    }
}

/// Here because files for Linux's side have no place; elsewhere because it is another system.
#[test]
fn nothing_to_compare_with() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vellum"));
    let nowhere = std::env::temp_dir().join("no such folder");
    let output = command.args(["conform", "--operations", "1"]).env("TMPDIR", nowhere).output().unwrap();
    complaint(&output, 3);
    let help = String::from_utf8(vellum(&["conform", "--help"]).stdout).unwrap();
    assert!(help.contains("3 there is no Linux here to compare with"), "{help}");
}

#[test]
fn the_table_of_differences() {
    let output = vellum(&["conform", "--differences"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    let rows = document(&vellum(&["conform", "--differences", "--json"]));
    let rows = rows.as_array().unwrap();
    assert!(!rows.is_empty());
    for row in rows {
        for field in ["id", "linux", "vellum", "reason"] {
            let value = row[field].as_str().unwrap();
            assert!(!value.is_empty() && text.contains(value), "{value}");
        }
    }
}

/// Where there is a Linux to compare with; elsewhere the command says that there is none.
#[test]
fn a_few_operations() {
    let run = |more: &[&str]| vellum(&[&["conform", "--operations", "300", "--seed", "7"], more].concat());
    let output = run(&["--json"]);
    if output.status.code() == Some(3) {
        println!("skipped: {}", complaint(&output, 3));
        return;
    }
    let report = document(&output);
    assert!(report["operations"].as_u64().unwrap() >= 300, "{report}");
    assert_eq!(report["seed"], 7);
    let of = |kind: &str, what: &str| report["calls"][kind][what].as_u64().unwrap();
    assert!(of("mmap", "succeeded") > 20 && of("mmap", "failed") > 0, "{report}");
    assert_eq!(report["loads"].as_u64().unwrap(), of("load", "succeeded") + of("load", "failed"));
    let text = String::from_utf8(run(&[]).stdout).unwrap();
    assert!(text.contains("sequences from seed 7") && text.contains("failed alike"), "{text}");
    // The same seed is the same sequences.
    let again = document(&run(&["--json"]));
    assert_eq!((&again["calls"], &again["sequences"]), (&report["calls"], &report["sequences"]));
    let calm = document(&run(&["--json", "--pressure", "off"]));
    assert_eq!((&calm["sequences_under_pressure"], &calm["pages_pressed"]), (&0.into(), &0.into()));
}
