//! The diagrams in `docs/SCENARIOS.md` are what the commands above them print.

mod common;

use common::vellum;
use std::fs;
use std::path::Path;

/// A command of the page, and what it is said to print.
struct Block<'a> {
    command: &'a str,
    output: &'a str,
}

/// The blocks of `page` that run a check.
fn blocks(page: &str) -> Vec<Block<'_>> {
    let blocks = page.split("```console\n$ vellum ").skip(1);
    let parts = blocks.map(|rest| {
        let block = rest.split_once("```").expect("a block ends").0;
        let (command, output) = block.split_once('\n').expect("a command prints something");
        Block { command, output }
    });
    parts.collect()
}

/// What `command` prints.
fn printed(command: &str) -> String {
    let output = vellum(&command.split(' ').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Without what changes whenever anything in the core does: lines of its source, steps and numbers of schedules. Frames
/// are numbered as they appear.
fn essence(output: &str) -> String {
    let mut frames = Vec::new();
    let lines = output.lines().map(|line| {
        let line = line.split(" --replay ").next().unwrap_or_default();
        let words = line.split_inclusive(' ').map(|word| of_word(word, &mut frames));
        let text: String = words.collect();
        text.split(" after ").next().unwrap_or_default().to_string() + "\n"
    });
    lines.collect()
}

fn of_word(word: &str, frames: &mut Vec<String>) -> String {
    if let Some((file, _)) = word.split_once(".rs:") {
        return file.to_string();
    }
    let is_digit = |c: char| c.is_ascii_hexdigit() && !c.is_ascii_uppercase();
    let Some((before, after)) = word.split_once('F') else { return word.to_string() };
    let digits: String = after.chars().take_while(|&c| is_digit(c)).collect();
    if digits.is_empty() || before.chars().any(char::is_alphanumeric) {
        return word.to_string();
    }
    let number = frames.iter().position(|frame| *frame == digits).unwrap_or_else(|| {
        frames.push(digits.clone());
        frames.len() - 1
    });
    format!("{before}F#{number}{}", &after[digits.len()..])
}

#[test]
fn the_page_shows_what_the_commands_print() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/SCENARIOS.md");
    let page = fs::read_to_string(&path).unwrap();
    let blocks = blocks(&page);
    assert!(blocks.len() >= 5, "five diagrams");
    let mut new = page.clone();
    let mut differences = Vec::new();
    for Block { command, output } in blocks {
        let is = printed(command);
        if essence(&is) != essence(output) {
            differences.push(format!("$ vellum {command}\n{is}"));
        }
        new = new.replace(&format!("$ vellum {command}\n{output}"), &format!("$ vellum {command}\n{is}"));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, new).unwrap();
    } else {
        assert!(differences.is_empty(), "run this test with UPDATE_DOCS=1:\n{}", differences.join("\n"));
    }
}

#[test]
fn what_matters_is_compared() {
    let one = "PTE[0x4000]: F144 rw → F1a0 r-\n… pre-empted in tlb/batch.rs:12\nI-LOST after 40 schedules\n";
    let other = "PTE[0x4000]: F145 rw → F1a1 r-\n… pre-empted in tlb/batch.rs:19\nI-LOST after 4 schedules\n";
    assert_eq!(essence(one), essence(other));
    assert_ne!(essence(one), essence(&one.replace("F1a0", "F144")));
    assert_ne!(essence(one), essence(&one.replace("batch", "gather")));
    assert_ne!(essence(one), essence(&one.replace("0x4000", "0x5000")));
}
