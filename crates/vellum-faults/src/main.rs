//! `seeded-faults`: faults put into the core one at a time, and what notices each.
//!
//! * `fault`: what a file of `faults/` says; `folder`: all of them, and the core they change.
//! * `copy`, `process`: copies of the tree, and commands in them. `search`, `test_run`: who may notice.
//! * `job`: one fault. `result`: what was found, the file it is noted in, and the matrix.

mod args;
mod copy;
mod fault;
mod folder;
mod job;
mod process;
mod result;
mod search;
mod test_run;

use args::Args;
use fault::Fault;
use result::{Found, Verdict};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

fn main() -> ExitCode {
    match Args::parse(env::args().skip(1)).and_then(|args| run(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("seeded-faults: {why}");
            ExitCode::from(2)
        }
    }
}

/// Does what the command line says; whether everything is as expected.
fn run(args: &Args) -> Result<bool, String> {
    if args.help {
        print!("{}", args::HELP);
        return Ok(true);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    let faults = folder::select(folder::load(&root)?, &args.names)?;
    if args.list {
        faults.iter().for_each(|fault| println!("{:<42} {:<11} {}", fault.name, fault.expect.to_string(), fault.title));
        return Ok(true);
    }
    let stale: Vec<(&Fault, String)> =
        faults.iter().filter_map(|fault| folder::changed(&root, fault).err().map(|why| (fault, why))).collect();
    stale.iter().for_each(|(fault, why)| println!("{}: does not apply: {why}", fault.name));
    if args.check {
        println!("{} faults, {} of them do not apply", faults.len(), stale.len());
        return Ok(stale.is_empty());
    }
    let is_complete = stale.is_empty();
    let faults: Vec<Fault> = faults.iter().filter(|fault| folder::changed(&root, fault).is_ok()).cloned().collect();
    let results = find_all(args, &root, &faults)?;
    println!("\n{}", result::heads());
    results.iter().for_each(|(fault, found)| println!("{}", result::row(fault, found)));
    println!("\n{}", result::summary(&results));
    Ok(is_complete && results.iter().all(|(fault, found)| found.is_expected(fault)))
}

/// What notices each fault, in their order: what was noted before, and for the others what is found now.
fn find_all(args: &Args, root: &Path, faults: &[Fault]) -> Result<Vec<(Fault, Found)>, String> {
    let text = args.output.as_deref().map(result::read).unwrap_or_default();
    let (done, left): (Vec<_>, Vec<_>) =
        faults.iter().map(|fault| (fault.clone(), result::noted(&text, fault))).partition(|(_, found)| found.is_some());
    let mut results: Vec<(Fault, Found)> =
        done.into_iter().filter_map(|(fault, found)| found.map(|found| (fault, found))).collect();
    let left: Vec<Fault> = left.into_iter().map(|(fault, _)| fault).collect();
    if !left.is_empty() {
        results.extend(find(args, root, &left)?);
    }
    results.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    Ok(results)
}

/// Finds out what notices each of `faults`, and says so as it comes.
fn find(args: &Args, root: &Path, faults: &[Fault]) -> Result<Vec<(Fault, Found)>, String> {
    let copies = Copies::new(args, faults.len());
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = |job: usize| -> Result<(), String> {
        let tree = copies.make(root, job)?;
        eprintln!("building the core as it is, in {}", tree.display());
        search::build(&tree).map_err(|why| format!("the core as it is cannot be built: {why}"))?;
        while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = job::run(args, &tree, fault);
            let mut results = results.lock().map_err(|_| "another job has failed")?;
            println!("{}", result::row(fault, &found));
            let is_sure = match found.verdict {
                Verdict::Survived => !args.no_tests,
                // For whatever reason: a build that was broken off says nothing of the fault.
                Verdict::NotBuilt => false,
                Verdict::Scenario | Verdict::Test => true,
            };
            if let Some(path) = args.output.as_ref().filter(|_| is_sure) {
                result::note(path, &found).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            results.push((fault.clone(), found));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..copies.jobs).map(|job| scope.spawn(move || work(job))).collect();
        jobs.into_iter().try_for_each(|job| job.join().map_err(|_| "a job has failed".to_string())?)
    })?;
    results.into_inner().map_err(|_| "a job has failed".to_string())
}

/// Where the copies are.
struct Copies {
    folder: PathBuf,
    jobs: usize,
    is_kept: bool,
}

impl Copies {
    fn new(args: &Args, faults: usize) -> Copies {
        let temporary = || env::temp_dir().join(format!("vellum-faults-{}", std::process::id()));
        let folder = args.copies.clone().unwrap_or_else(temporary);
        Copies { folder, jobs: args.jobs.min(faults), is_kept: args.keep }
    }

    /// The copy for job number `job`, like the tree at `root`.
    fn make(&self, root: &Path, job: usize) -> Result<PathBuf, String> {
        let tree = self.folder.join(job.to_string());
        copy::synchronise(root, &tree).map_err(|error| format!("{}: {error}", tree.display()))?;
        tree.canonicalize().map_err(|error| format!("{}: {error}", tree.display()))
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        for job in (0..self.jobs).filter(|_| !self.is_kept) {
            let _ = fs::remove_dir_all(self.folder.join(job.to_string()));
        }
        // If it is empty.
        let _ = fs::remove_dir(&self.folder);
    }
}
