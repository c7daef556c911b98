//! The table of differences, where it is written for people.

use std::path::Path;
use vellum_conform::{DIFFERENCES, differences};

fn section(file: &str, heading: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).expect(heading);
    rest.split("\n## ").next().unwrap().to_string()
}

/// The ids with which lines of a section begin.
fn ids<'a>(section: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    let id = |line: &'a str| line.strip_prefix(before)?.split_once(after).map(|(id, _)| id);
    section.lines().filter_map(id).collect()
}

fn known() -> Vec<&'static str> {
    DIFFERENCES.iter().map(|difference| difference.id).collect()
}

#[test]
fn the_page_of_linux_calls_has_the_table() {
    let section = section("docs/LINUX.md", "Where they differ");
    assert!(section.ends_with(&format!("\n\n{}", differences::page())), "it must be:\n{}", differences::page());
    assert_eq!(ids(&section, "| `", "` |"), known());
}

#[test]
fn the_limits_are_the_table_in_words() {
    assert_eq!(ids(&section("README.md", "Limits to know"), "* `", "`: "), known());
}
