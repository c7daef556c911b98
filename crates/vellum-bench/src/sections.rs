//! `vellum bench sections`: for how long pre-emption is off in operations on large memory, and how much stack they
//! take.

use super::large::{self, PAGES};
use super::stacks::DEEPEST;
use super::step::{self, Stepped};
use super::{BenchError, print};
use serde::Serialize;
use std::sync::{Mutex, mpsc};
use std::thread;

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

/// Does `work` for each of the names, for as many at a time as there are processors, and hands the results over in the
/// order of the names, until one is not wanted.
fn side_by_side<T: Send, E>(
    names: &[&'static str],
    work: fn(&'static str) -> T,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let (places, results): (Vec<_>, Vec<_>) = names.iter().map(|_| mpsc::sync_channel(1)).unzip();
    let jobs = Mutex::new(names.iter().zip(places));
    let worker = || {
        let next = || jobs.lock().expect("nothing panics with it").next();
        // Whoever waits for it has gone where there was an error.
        while let Some((name, place)) = next()
            && place.send(work(name)).is_ok()
        {}
    };
    thread::scope(|scope| {
        (0..thread::available_parallelism().map_or(1, |count| count.get())).for_each(|_| _ = scope.spawn(worker));
        results.into_iter().try_for_each(|result| take(result.recv().expect("each job has a result")))
    })
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
    side_by_side(&chosen, measure, |seen| {
        let seen = seen?;
        let Section { name, instructions, sections, longest, stack } = seen;
        if !json {
            let over = |is_over| if is_over { "!" } else { " " };
            print(&format!(
                "{name:<20}{instructions:>14}{sections:>10}{longest:>10}{}{stack:>9}{}\n",
                over(longest > LONGEST),
                over(stack > DEEPEST)
            ));
        }
        seen_of_all.push(seen);
        Ok(())
    })?;
    if json {
        print(&super::report::document(&seen_of_all));
    }
    Ok(())
}
