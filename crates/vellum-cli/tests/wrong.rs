//! What is wrong ends with exit code 2, and one line that says what.

mod common;

use common::{complaint, log, traces, vellum, vellum_with};
use std::path::PathBuf;

#[track_caller]
fn refused(input: &[u8], reasons: &[&str]) {
    let line = complaint(&vellum_with(&["run", "-"], input), 2);
    for reason in [&["standard input"], reasons].concat() {
        assert!(line.contains(reason), "“{reason}” in: {line}");
    }
}

#[test]
fn impossible_accesses() {
    refused(log(" L 00600000,8\n L 0000800000000000,8\n").as_bytes(), &["line 3", "0x800000000000"]);
    refused(log(" L 00007ffffffffffc,8\n").as_bytes(), &["line 2"]);
    refused(log(" S fffffffffffffffc,8\n").as_bytes(), &["line 2", "wraps"]);
    refused(log(" S 00600000,0\n").as_bytes(), &["line 2", "0 bytes"]);
    refused(log(" S 00600000,4097\n").as_bytes(), &["line 2", "4097"]);
    refused(log(" S 0060zz00,8\n").as_bytes(), &["line 2"]);
}

/// Addresses that programs have on x86-64, and not on the architecture asked for.
#[test]
fn addresses_of_larger_architectures() {
    let map = "SYSCALL[7,1](9) sys_mmap ( 0x0, 8192, 3, 34, -1, 0 ) --> [pre-success] Success(0x3fffffff000) \n";
    let brk = "SYSCALL[7,1](12) sys_brk ( 0x0 ) --> [pre-success] Success(0x4000000000) \n";
    for (body, address) in [(" S 4000000000,8\n", "0x4000000000"), (map, "0x40000000fff"), (brk, "0x4000000000")] {
        let run = |arch| vellum_with(&["run", "-", "--arch", arch], log(&format!(" L 00600000,8\n{body}")).as_bytes());
        let line = complaint(&run("riscv64"), 2);
        assert!(line.contains(address) && line.contains("riscv64"), "{line}");
        assert_eq!(run("riscv64-sv48").status.code(), Some(0));
    }
    // Not an address of any program: a signal, here as there.
    let output = vellum_with(&["run", "-", "--arch", "riscv64"], log(" L ffffffffff600000,8\n").as_bytes());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn incomplete_files() {
    refused(b"", &["empty"]);
    refused(log("").as_bytes(), &["no access"]);
    refused(b"==7== Lackey\n L 00600000,8\n L 006000", &["line 3", "cut"]);
    refused(b"hello\nworld\n", &["neither"]);
    refused(&[0xff; 64], &["neither"]);
    let trace = std::fs::read(traces().join("sort.vtrace")).unwrap();
    refused(&trace[..trace.len() / 2], &[]);
    let log = std::fs::read(traces().join("threads.104.xz")).unwrap();
    refused(&log[..log.len() / 2], &[]);
}

#[test]
fn several_processes_in_one_file() {
    refused(log(" L 00600000,8\n==9== Lackey\n L 00600000,8\n").as_bytes(), &["%p"]);
}

#[test]
fn a_missing_footer_is_only_a_warning() {
    let output = vellum_with(&["run", "-"], b"==7== Lackey, an example Valgrind tool\n L 00600000,8\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("footer"));
}

#[test]
fn unknown_targets() {
    let line = complaint(&vellum(&["run", "no-such-thing"]), 2);
    assert!(line.contains("no-such-thing") && line.contains("fault-private"), "{line}");
    let folder = std::env::temp_dir();
    complaint(&vellum(&["run", folder.to_str().unwrap()]), 2);
}

#[test]
fn wrong_options() {
    let sizes = ["10K", "0", "1023K", "x", "-5M", "1.5G", "64Q", "9999999T", "65G", ""];
    for size in sizes {
        complaint(&vellum(&["run", "fault-private", "--memory", size]), 2);
    }
    for size in ["10K", "0", "x", "65G", ""] {
        complaint(&vellum(&["run", "fault-private", "--swap", size]), 2);
        complaint(&vellum(&["run", "fault-private", "--swap", "1G", "--zswap", size]), 2);
    }
    let line = complaint(&vellum(&["run", "fault-private", "--zswap", "16M"]), 2);
    assert!(line.contains("--swap"), "{line}");
    for zswap in ["64M", "1G"] {
        let sizes = ["--memory", "64M", "--swap", "1G", "--zswap", zswap];
        let line = complaint(&vellum(&[&["run", "fault-private"], &sizes[..]].concat()), 2);
        assert!(line.contains("--zswap") && line.contains("--memory"), "{line}");
    }
    for nodes in ["0", "17", "256", "two", "-1"] {
        complaint(&vellum(&["run", "fault-private", "--nodes", nodes]), 2);
    }
    for option in [&["--batch", "perhaps"][..], &["--batch"], &["--nodes"], &["--swap"], &["--zswap"]] {
        complaint(&vellum(&[&["run", "fault-private"], option].concat()), 2);
    }
    for cpus in ["0", "257", "99999999999999999999", "two", "-1"] {
        complaint(&vellum(&["run", "fault-private", "--cpus", cpus]), 2);
    }
    for arguments in [
        &["run", "--arch", "m68k"][..],
        &["run", "--arch"],
        &["run", "a", "b"],
        &["run", "--frobnicate"],
        &["fly"],
        &["--json"],
        &["record"],
        &["record", "-o"],
        &["record", "true"],
        &["record", "-o", "/nowhere/at/all", "--", "true"],
    ] {
        complaint(&vellum(arguments), 2);
    }
}

#[test]
fn machines_that_cannot_start() {
    complaint(&vellum(&["run", "fault-private", "--memory", "1M", "--cpus", "256"]), 2);
}

#[test]
fn options_of_later_versions() {
    for option in [&["--machine", "file"][..], &["--machine"]] {
        let line = complaint(&vellum(&[&["run", "fault-private"], option].concat()), 2);
        assert!(line.contains("not supported yet") && line.contains(option[0]), "{line}");
    }
}

/// Damaged logs: replayed or refused, and never a panic (exit code 101).
#[test]
fn damaged_logs() {
    let mut random = fastrand::Rng::with_seed(5);
    let call = |text: &str, result: &str| format!("SYSCALL[7,1](9) {text} --> [pre-success] Success({result}) \n");
    let body = [
        "I  00401ffe,4\n L 00600000,8\n".into(),
        call("sys_brk ( 0x0 )", "0x4035000"),
        call("sys_brk ( 0x4039000 )", "0x4039000"),
        " S 04035008,8\n".into(),
        call("sys_openat ( 4294967196, 0x4034bb0(/file), 0 )", "0x3"),
        call("sys_mmap ( 0x0, 16400, 3, 2, 3, 0 )", "0x4837000"),
        " M 04837ffc,8\n S 1ffeffeff8,8\n".into(),
        call("sys_mprotect ( 0x4837000, 8192, 1 )", "0x0"),
        call("sys_mremap ( 0x4837000, 8192, 65536, 0x1 )", "0x622d000"),
        call("sys_madvise ( 0x622d000, 8192, 4 )", "0x0"),
        " L 0622d000,8\n".into(),
        call("sys_munmap ( 0x622d000, 65536 )", "0x0"),
        call("sys_fork ( )", "0x9"),
        " L 0622d000,8\n".into(),
    ];
    let whole = log(&body.concat()).into_bytes();
    for _ in 0..150 {
        let mut damaged = whole.clone();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(0..damaged.len());
            match random.u32(0..3) {
                0 => damaged[at] = random.u8(..),
                1 => damaged[at] = random.choice(b"0123456789abcdef".iter().copied()).unwrap(),
                _ => drop(damaged.drain(at..(at + random.usize(1..40)).min(damaged.len()))),
            }
        }
        let output = vellum_with(&["run", "-", "--memory", "8M"], &damaged);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0..=2)), "{errors}\n{}", String::from_utf8_lossy(&damaged));
        assert!(errors.lines().count() <= 1, "{errors}");
    }
}

/// What the command leaves behind when recording fails.
#[test]
fn a_failed_recording_leaves_nothing() {
    let output: PathBuf = std::env::temp_dir().join(format!("vellum-wrong-{}.vtrace", std::process::id()));
    let line = complaint(&vellum(&["record", "-o", output.to_str().unwrap(), "--", "/no/such/program"]), 2);
    assert!(line.contains("valgrind") || line.contains("/no/such/program"), "{line}");
    assert!(!output.exists());
}
