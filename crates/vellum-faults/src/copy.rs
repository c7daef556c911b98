//! Copies of the repository, in which faults are built.

use std::path::Path;
use std::{fs, io};

/// What is built, or none of the copy's business.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// Makes the tree at `to` like that at `from`, but for what is built there. Files that are the same are left alone, so
/// that what was built of them stays so.
pub fn synchronise(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        let is_kept = LEFT_OUT.iter().any(|name| entry.file_name() == *name);
        if !is_kept && !from.join(entry.file_name()).exists() {
            remove(&entry.path())?;
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            synchronise(&source, &target)?;
        } else if !is_same(&source, &target) {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((fs::read(one), fs::read(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows_and_keeps_what_was_built() {
        let place = std::env::temp_dir().join(format!("vellum-faults-copy-{}", std::process::id()));
        let (from, to) = (place.join("from"), place.join("to"));
        let write = |path: &str, text: &str| {
            let path = place.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        let read = |path: &str| fs::read_to_string(place.join(path)).ok();
        write("from/src/a.rs", "one");
        write("from/src/gone.rs", "two");
        write("from/target/built", "not this");
        write("from/.git/config", "nor this");
        synchronise(&from, &to).expect("a copy");
        assert_eq!(read("to/src/a.rs").as_deref(), Some("one"));
        assert_eq!((read("to/target/built"), read("to/.git/config")), (None, None));

        write("to/target/built", "built");
        write("to/src/a.rs", "a fault");
        fs::remove_file(from.join("src/gone.rs")).expect("a file");
        synchronise(&from, &to).expect("a copy");
        assert_eq!(read("to/src/a.rs").as_deref(), Some("one"));
        assert_eq!(read("to/src/gone.rs"), None);
        assert_eq!(read("to/target/built").as_deref(), Some("built"));
        fs::remove_dir_all(&place).expect("the folder");
    }
}
