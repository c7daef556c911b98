//! `vellum conflicts` as its users see it.

mod common;

use common::{complaint, document, vellum};

const REQUIRED: [&str; 4] = ["fault", "map", "unmap", "protect"];

#[test]
fn required_operations_do_not_conflict() {
    let document = document(&vellum(&[&["conflicts", "--json"][..], &REQUIRED].concat()));
    assert_eq!((&document["arch"], &document["distance_bytes"]), (&"x86_64".into(), &(16 << 20).into()));
    let pairs = document["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 10);
    for pair in pairs {
        let has = |name: &str| pair["operations"].as_array().unwrap().iter().any(|operation| operation == name);
        assert_eq!(pair["conflicts"], 0, "{pair}");
        assert_eq!(pair["exempted"] == 0, !has("unmap") && !has("protect"), "{pair}");
        let is_named = |line: &serde_json::Value| !line["structures"].as_array().unwrap().is_empty();
        assert!(pair["lines"].as_array().unwrap().iter().all(is_named), "{pair}");
    }
}

#[test]
fn the_report_has_a_matrix_and_names_lines() {
    let output = vellum(&["conflicts", "unmap", "map", "--arch", "riscv64"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let row = text.lines().find(|line| line.starts_with("map ")).unwrap();
    assert!(row.split_whitespace().eq(["map", "0", "0", "(1)"]), "{text}");
    assert!(text.contains("map on CPU 0, unmap on CPU 1:") && text.contains("riscv64"), "{text}");
    assert!(text.contains("both write             mailbox of CPU 0 (exempt)"), "{text}");
}

#[test]
fn an_unknown_operation_is_bad_usage() {
    let line = complaint(&vellum(&["conflicts", "fly"]), 2);
    assert!(line.contains("fly") && line.contains("fault-file"), "{line}");
    assert!(complaint(&vellum(&["conflicts", "--arch", "tiny"]), 2).contains("--arch tiny"));
}
