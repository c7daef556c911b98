//! The embedding example does what it says, and links without the standard library and without an allocator.

#[path = "../examples/embed.rs"]
#[allow(dead_code)]
mod embed;

use std::path::Path;
use std::process::Command;

const EXPECTED: &str = "\
mapped: 0 pages resident
stored: 1 page resident
forked: parent and child share a page
copied on write: they have pages of their own: p and c
protected: a store fails
unmapped: 0 pages resident
ended: 0 spaces, 0 pages mapped; nothing is lost
";

#[test]
fn the_example_does_what_it_says() {
    let mut out = String::new();
    assert_eq!(embed::run(&mut out), Ok(()));
    assert_eq!(out, EXPECTED);
}

/// `tests/embed-link` is a program without `std` and `alloc`. A core that allocated otherwise than from its machine's
/// frames would leave it without a global allocator, which does not link.
#[test]
fn it_links_without_an_allocator() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/embed-link/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embed-link");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "--release"])
        .args([Path::new("--manifest-path"), &manifest, Path::new("--target-dir"), &target])
        // What the surrounding build was told is not meant for this one.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .expect("cargo runs");
    assert!(build.status.success(), "it does not link:\n{}", String::from_utf8_lossy(&build.stderr));
    let code = std::fs::read(target.join("release/embed-link")).expect("the program is a file");
    guards_leave_nothing_behind(&code);
    let run = Command::new(target.join("release/embed-link")).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&run.stdout), EXPECTED);
    assert!(run.status.success(), "it ends with {}: {}", run.status, String::from_utf8_lossy(&run.stderr));
}

/// On a machine that does not answer [`vellum::Guard`] questions itself, they are gone from the machine code: no
/// function that asks or answers, and no name of a guard.
fn guards_leave_nothing_behind(code: &[u8]) {
    let holds = |code: &[u8], text: &str| code.windows(text.len()).any(|window| window == text.as_bytes());
    let contains = |text: &str| holds(code, text);
    // This test's own code does name them, so they would be found.
    let own = std::fs::read(std::env::current_exe().expect("a test runs from a file")).expect("it can be read");
    assert!(holds(&own, vellum::Guard::FlushBeforeFree.name()));
    for guard in vellum::Guard::ALL {
        // Shorter names could be there by chance.
        assert!(guard.name().len() < 8 || !contains(guard.name()), "{} is in the machine code", guard.name());
    }
    // How the compiler spells `Machine::guard` and `vellum::guard` in symbols.
    for symbol in ["Machine5guard", "6vellum5guard", "vellum::guard"] {
        assert!(!contains(symbol), "{symbol} is in the machine code");
    }
}
