//! `vellum run`: what it prints, and how it ends.

mod common;

use common::{complaint, document, log, traces, vellum, vellum_with};
use liblzma::read::XzDecoder;
use serde_json::Value;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use vellum_lab::trace::{Event, TraceReader};

const WORKLOADS: [&str; 7] =
    ["fault-private", "fault-shared", "map-churn", "protect-toggle", "fork-server", "file-readers", "stack-and-heap"];

/// Records, and the pages that they touch.
#[derive(Default)]
struct Counted {
    accesses: u64,
    loads: u64,
    pages: HashSet<u64>,
}

impl Counted {
    fn add(&mut self, is_load: bool, address: u64, size: u64) {
        self.accesses += 1;
        self.loads += u64::from(is_load);
        self.pages.insert(address >> 12);
        self.pages.insert((address + size - 1) >> 12);
    }

    /// Counts the access records in the raw text of a log: those on lines of their own, and those behind the outcome
    /// of a call.
    fn add_log(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with("==") && !line.starts_with("--")) {
            let record = match line.rfind("Success(").or_else(|| line.rfind("Failure(")) {
                Some(at) if line.starts_with("SYSCALL") => line[at..].split_once(") ").map_or("", |(_, rest)| rest),
                _ => line,
            };
            let Some((kind, place)) = record.trim_start().split_once(' ') else { continue };
            let Some((address, size)) = place.trim_start().split_once(',') else { continue };
            let (Ok(address), Ok(size)) = (u64::from_str_radix(address, 16), size.parse()) else { continue };
            if ["I", "L", "S", "M"].contains(&kind) {
                self.add(kind == "L" || kind == "M", address, size);
            }
        }
    }

    #[track_caller]
    fn compare(&self, document: &Value) {
        assert_eq!(document["accesses"], self.accesses);
        assert_eq!(document["pages_touched"], self.pages.len());
        assert_eq!(document["oracle"]["violations"], 0);
        assert_eq!(document["audit"], "clean");
        // Every load is checked; none of these programs gets a signal.
        assert_eq!(document["sigsegv"], 0);
        assert_eq!(document["oracle"]["loads_checked"], self.loads);
    }
}

#[test]
fn the_bundled_trace_is_counted_right() {
    let mut reader = TraceReader::open(&traces().join("sort.vtrace")).unwrap();
    let mut counted = Counted::default();
    let mut last = u64::MAX;
    while let Some(event) = reader.next_event().unwrap() {
        let Event::Access(access) = event else { continue };
        let pages = (access.address >> 12, (access.address + u64::from(access.size) - 1) >> 12);
        if pages == (last, last) {
            // The same page again: quicker.
            counted.accesses += 1;
            counted.loads += u64::from(access.kind.is_read());
            continue;
        }
        last = pages.1;
        counted.add(access.kind.is_read(), access.address, access.size.into());
    }
    assert!(counted.accesses >= 5_000_000);
    let document = document(&vellum(&["run", "--json"]));
    counted.compare(&document);
    assert_eq!(document["workload"], "sort.vtrace (bundled)");
    let peak = document["rss"].as_array().unwrap().iter().map(|sample| sample["pages"].as_u64().unwrap()).max();
    assert!(peak.unwrap() * 4096 >= 16 << 20, "{peak:?} pages");
}

#[test]
fn a_log_is_counted_as_its_text_says() {
    let mut counted = Counted::default();
    for name in ["threads.100.xz", "threads.104.xz", "threads.105.xz"] {
        let mut text = String::new();
        XzDecoder::new(File::open(traces().join(name)).unwrap()).read_to_string(&mut text).unwrap();
        counted.add_log(&text);
    }
    let path = traces().join("threads.100.xz");
    for cpus in ["1", "3"] {
        let document = document(&vellum(&["run", path.to_str().unwrap(), "--json", "--cpus", cpus]));
        counted.compare(&document);
        assert_eq!(document["cpus"].to_string(), cpus);
        let flushed = document["tlb"]["ipis_sent"].as_u64().unwrap();
        assert_eq!(flushed > 0, cpus == "3", "threads on several CPUs flush each other's");
        assert!(document["counters"]["pgfork"].as_u64().unwrap() > 0);
    }
}

#[test]
fn the_document_has_the_promised_shape() {
    let document = document(&vellum_with(&["run", "-", "--json"], log(" S 00600000,8\n").as_bytes()));
    for key in ["seconds", "accesses", "pages_touched", "cpus", "implicit_pages", "sigsegv"] {
        assert!(document[key].is_number(), "{key}");
    }
    for (object, keys) in [
        ("tlb", &["ipis_sent", "ipis_received", "flushes", "flush_batches", "misses"][..]),
        ("work", &["pages_reclaimed", "pages_migrated"]),
        ("memory", &["frames_used_max", "table_pages_max", "metadata_bytes"]),
        ("oracle", &["loads_checked", "violations"]),
        ("counters", &["pgfault", "pgmajfault", "nr_tlb_remote_flush"]),
    ] {
        keys.iter().for_each(|key| assert!(document[object][key].is_u64(), "{object}.{key}"));
    }
    assert_eq!((&document["workload"], &document["arch"]), (&"standard input".into(), &"x86_64".into()));
    assert!(document["warnings"].to_string().contains("not modelled"));
}

#[test]
fn workloads_run_on_both_machines() {
    for name in WORKLOADS {
        for flags in [&["--cpus", "3"][..], &["--cpus", "3", "--deterministic"]] {
            let document = document(&vellum(&[&["run", name, "--json", "--memory", "256M"], flags].concat()));
            assert_eq!(document["workload"], name);
            assert_eq!(document["oracle"]["violations"], 0, "{name}");
            assert_eq!(document["audit"], "clean", "{name}");
            assert!(document["oracle"]["loads_checked"].as_u64().unwrap() > 1000, "{name}");
        }
    }
}

/// The options about the shortage of memory are taken, and the report says what they were.
#[test]
fn nodes_and_swap_are_reported() {
    let path = traces().join("threads.100.xz");
    let options =
        ["--memory", "64M", "--cpus", "3", "--nodes", "2", "--swap", "32M", "--zswap", "8M", "--batch", "off"];
    for target in [&["fault-private"][..], &["fault-private", "--deterministic"], &[path.to_str().unwrap()]] {
        let run = [&["run"], target, &options].concat();
        let document = document(&vellum(&[&run[..], &["--json"]].concat()));
        assert_eq!(document["audit"], "clean");
        assert_eq!(document["nodes"], 2);
        let settings = serde_json::json!({
            "memory_bytes": 64 << 20, "swap_bytes": 32 << 20, "zswap_bytes": 8 << 20, "batch": false, "thp": "madvise"
        });
        assert_eq!(document["settings"], settings);
        assert_eq!(document["memory"]["frames"], 64 << 8);
        let text = String::from_utf8(vellum(&run).stdout).unwrap();
        let line = "3 CPUs, 64 MiB on 2 nodes, 32 MiB of swap, 8 MiB for compressed pages, no batches; ";
        assert!(text.contains(line), "{text}");
    }
}

/// A document without what depends on the host's clock.
fn timeless(arguments: &[&str]) -> Value {
    let mut document = document(&vellum(arguments));
    let fields = document.as_object_mut().unwrap();
    assert!(fields.remove("seconds").is_some() && fields.remove("latency_ns").is_some());
    document
}

#[test]
fn deterministic_runs_repeat() {
    let path = traces().join("threads.100.xz");
    let trace = ["run", path.to_str().unwrap(), "--cpus", "4", "--json"];
    assert_eq!(timeless(&trace), timeless(&trace));
    for name in WORKLOADS {
        let workload = ["run", name, "--deterministic", "--cpus", "2", "--memory", "128M", "--json"];
        assert_eq!(timeless(&workload), timeless(&workload));
    }
}

#[test]
fn other_architectures_run() {
    let path = traces().join("threads.104.xz");
    let path = path.to_str().unwrap();
    let document = document(&vellum(&["run", path, "--arch", "x86_64-la57", "--json"]));
    assert_eq!(document["arch"], "x86_64-la57");
    assert!(complaint(&vellum(&["run", path, "--arch", "tiny"]), 2).contains("--arch tiny"));
}

const ARCHES: [&str; 5] = ["aarch64", "riscv64", "riscv64-sv48", "ppc64", "sparc64"];

/// What the program does is the same everywhere; what the processors do is not.
#[test]
fn a_trace_replays_on_every_architecture_with_its_pages() {
    let path = traces().join("threads.100.xz");
    let on = |arch: &str| vellum(&["run", path.to_str().unwrap(), "--arch", arch, "--cpus", "3", "--json"]);
    let x86 = document(&on("x86_64"));
    for arch in ARCHES.into_iter().filter(|arch| *arch != "sparc64") {
        let document = document(&on(arch));
        assert_eq!(document["arch"], arch);
        for same in ["accesses", "pages_touched", "sigsegv", "implicit_pages", "oracle"] {
            assert_eq!(document[same], x86[same], "{arch}: {same}");
        }
        assert_eq!(document["audit"], "clean", "{arch}");
        let interrupts = document["tlb"]["ipis_sent"].as_u64().unwrap();
        assert_eq!(interrupts == 0, ["aarch64", "ppc64"].contains(&arch), "{arch}: {interrupts} interrupts");
    }
    let line = complaint(&on("sparc64"), 2);
    assert!(line.contains("--arch sparc64") && line.contains("8 KiB") && line.contains("4 KiB"), "{line}");
}

#[test]
fn workloads_run_on_every_architecture() {
    for (number, arch) in ARCHES.into_iter().enumerate() {
        for (place, name) in WORKLOADS.into_iter().enumerate() {
            // All where pages are larger, and every other one elsewhere; on either machine in turn.
            if arch != "sparc64" && (number + place) % 2 == 1 {
                continue;
            }
            let machine = if place % 3 == 0 { &["--deterministic"][..] } else { &[] };
            let run = ["run", name, "--arch", arch, "--cpus", "2", "--memory", "256M", "--json"];
            let document = document(&vellum(&[&run[..], machine].concat()));
            assert_eq!(document["arch"], arch);
            assert_eq!(document["oracle"]["violations"], 0, "{name} on {arch}");
            assert_eq!(document["audit"], "clean", "{name} on {arch}");
            assert!(document["oracle"]["loads_checked"].as_u64().unwrap() > 1000, "{name} on {arch}");
        }
    }
}

#[test]
fn exhausted_memory_is_a_failure_with_a_reason() {
    let line = complaint(&vellum(&["run", "--memory", "4M"]), 1);
    assert!(line.contains("out of memory after"), "{line}");
    let line = complaint(&vellum(&["run", "map-churn", "--memory", "1M", "--cpus", "2"]), 1);
    assert!(line.contains("out of memory"), "{line}");
}

#[test]
fn a_report_is_printed_for_people() {
    let output = vellum(&["run", traces().join("threads.100.xz").to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    // The log's records and those of its two children.
    for part in
        ["201,112", "oracle", "no violation", "audit     clean", "resident", "pgfault", "ignored", "not modelled"]
    {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(output.stderr.is_empty());
}

#[test]
fn help_is_no_error() {
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let output = vellum(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}
