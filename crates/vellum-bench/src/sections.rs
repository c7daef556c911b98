//! `vellum bench sections`: for how long pre-emption is off in operations on large memory, and how much stack they take.

use super::large::{self, PAGES};
use super::stacks::DEEPEST;
use super::step::{self, Stepped};
use super::{BenchError, print};
use serde::Serialize;

/// The most instructions with pre-emption off.
pub const LONGEST: u64 = 50_000;

/// What was seen of an operation.
#[derive(Serialize)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// Instructions in all.
    pub instructions: u64,
    /// Times that pre-emption was switched off.
    pub sections: u64,
    /// The most instructions with it off.
    pub longest: u64,
    /// Bytes of stack.
    pub stack: u64,
}

/// Steps through the job called `name`.
fn measure(name: &'static str) -> Result<Section, BenchError> {
    let Stepped { longest, sections, instructions, stack } = step::step(&format!("{}{name}", super::STEPPED))?;
    Ok(Section { name, instructions, sections, longest, stack })
}

/// Steps through the jobs called `names`, or all, and prints a table, or a document.
pub fn run(names: &[String], json: bool) -> Result<(), BenchError> {
    let chosen = large::chosen(names)?;
    if !json {
        print(&format!(
            "instructions with pre-emption off, {LONGEST} at most, and bytes of stack, {DEEPEST} at most; {PAGES} pages each\n\
             {:<20}{:>14}{:>10}{:>10}{:>10}\n",
            "operation", "instructions", "sections", "longest", "stack"
        ));
    }
    let mut seen_of_all = Vec::new();
    for name in chosen {
        let seen = measure(name)?;
        let Section { instructions, sections, longest, stack, .. } = seen;
        if !json {
            let over = |is_over| if is_over { "!" } else { " " };
            print(&format!(
                "{name:<20}{instructions:>14}{sections:>10}{longest:>10}{}{stack:>9}{}\n",
                over(longest > LONGEST),
                over(stack > DEEPEST)
            ));
        }
        seen_of_all.push(seen);
    }
    if json {
        print(&super::report::document(&seen_of_all));
    }
    Ok(())
}
