//! The folder of faults.

use crate::fault::Fault;
use std::fs;
use std::path::{Path, PathBuf};

/// Below the root of the repository.
pub const FAULTS: &str = "faults";
/// What they change, below the root.
pub const CORE: &str = "crates/vellum/src";

/// All faults of the repository at `root`, by their names.
pub fn load(root: &Path) -> Result<Vec<Fault>, String> {
    let folder = root.join(FAULTS);
    let mut paths = Vec::new();
    collect(&folder, &mut paths).map_err(|error| format!("{}: {error}", folder.display()))?;
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.strip_prefix(&folder).unwrap_or(path).with_extension("");
        Fault::parse(&name.to_string_lossy(), &text).map_err(|why| format!("{}: {why}", path.display()))
    };
    paths.iter().map(read).collect()
}

/// Those that are meant by `names`: their own, or folders; all if there are none.
pub fn select(faults: Vec<Fault>, names: &[String]) -> Result<Vec<Fault>, String> {
    let is_meant = |fault: &Fault, name: &str| {
        fault.name == name
            || fault.name.strip_prefix(name.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
    };
    if let Some(name) = names.iter().find(|name| !faults.iter().any(|fault| is_meant(fault, name))) {
        return Err(format!("no fault '{name}'"));
    }
    let is_wanted = |fault: &Fault| names.is_empty() || names.iter().any(|name| is_meant(fault, name));
    Ok(faults.into_iter().filter(is_wanted).collect())
}

/// The core at `root` with `fault`: the file to be changed, its text, and what that becomes.
pub fn changed(root: &Path, fault: &Fault) -> Result<(PathBuf, String, String), String> {
    let path = root.join(CORE).join(&fault.file);
    let before = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", fault.file))?;
    let after = fault.apply(&before).map_err(|misfit| format!("{}: {misfit}", fault.file))?;
    Ok((path, before, after))
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "fault") {
            paths.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// A fault whose anchor has gone is to be seeded anew.
    #[test]
    fn every_fault_applies() {
        let faults = load(&root()).expect("a folder of faults");
        assert!(faults.len() >= 60, "there are {} faults", faults.len());
        let stale: Vec<String> = (faults.iter())
            .filter_map(|fault| changed(&root(), fault).err().map(|why| format!("{}: {why}", fault.name)))
            .collect();
        assert!(stale.is_empty(), "faults that no longer apply:\n{}", stale.join("\n"));
    }

    #[test]
    fn no_fault_is_there_twice() {
        let faults = load(&root()).expect("a folder of faults");
        let mut texts = HashSet::new();
        for fault in &faults {
            let (path, _, after) = changed(&root(), fault).expect("a fault that applies");
            assert!(texts.insert((path, after)), "{} is another one, too", fault.name);
        }
    }

    #[test]
    fn names_and_folders_select() {
        let fault = |name: &str| {
            Fault::parse(name, "title: T\nkind: K\nfile: f\nexpect: test\n--- find\nx\n--- replace\n").expect("a fault")
        };
        let all = || vec![fault("tlb/a"), fault("tlb/b"), fault("tlbs/c")];
        let chosen = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            select(all(), &names).map(|faults| faults.into_iter().map(|fault| fault.name).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[]).expect("all").len(), 3);
        assert_eq!(chosen(&["tlb"]).expect("a folder"), ["tlb/a", "tlb/b"]);
        assert_eq!(chosen(&["tlbs/", "tlb/b"]).expect("both"), ["tlb/b", "tlbs/c"]);
        assert_eq!(chosen(&["tlb/d"]).expect_err("none"), "no fault 'tlb/d'");
    }
}
