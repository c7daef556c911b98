//! `vellum run` where memory is short: the work is done, nothing is lost, and batches save interrupts.

mod common;

use common::{complaint, document, vellum};
use serde_json::Value;

fn number(document: &Value, path: &str) -> u64 {
    let value = document.pointer(path).unwrap_or_else(|| panic!("{path} in {document}"));
    value.as_u64().unwrap_or_else(|| panic!("{path}: {value}"))
}

/// The document of a run that found nothing broken.
#[track_caller]
fn clean(arguments: &[&str]) -> Value {
    let document = document(&vellum(&[&["run"], arguments, &["--json"]].concat()));
    assert_eq!(document["oracle"]["violations"], 0);
    assert_eq!(document["audit"], "clean");
    document
}

/// Its peak is above 16 MiB.
fn bundled_trace_in_a_quarter(more: &[&str]) -> Value {
    let document = clean(&[&["--memory", "5M", "--swap", "64M"], more].concat());
    assert_eq!(document["accesses"], 27_953_366);
    for path in [
        "/work/pages_swapped_in",
        "/work/pages_swapped_out",
        "/work/refaults",
        "/work/pages_reclaimed",
        "/counters/pageoutrun",
    ] {
        assert!(number(&document, path) > 0, "{path}");
    }
    // Most memory is taken back before somebody finds none.
    assert!(number(&document, "/counters/allocstall") < number(&document, "/counters/pageoutrun"));
    assert!(number(&document, "/work/working_set") <= number(&document, "/work/refaults"));
    document
}

#[test]
fn the_bundled_trace_runs_in_a_quarter_of_its_memory() {
    let document = bundled_trace_in_a_quarter(&[]);
    assert_eq!(document["counters"]["zswpout"], 0);
}

#[test]
fn the_bundled_trace_runs_with_compressed_pages() {
    let document = bundled_trace_in_a_quarter(&["--zswap", "1M"]);
    assert!(number(&document, "/counters/zswpout") > 0 && number(&document, "/counters/zswpin") > 0);
}

/// The run with batches and the run without them, which have done the same work: interrupts for each page of `pages`.
fn interrupts_per_page(arguments: &[&str], pages: &str) -> [f64; 2] {
    let [on, off] = ["on", "off"].map(|batch| clean(&[arguments, &["--deterministic", "--batch", batch]].concat()));
    assert_eq!(on["accesses"], off["accesses"]);
    [on, off].map(|run| number(&run, "/tlb/ipis_sent") as f64 / number(&run, pages) as f64)
}

#[test]
fn batches_save_interrupts_of_reclaim() {
    let [on, off] = interrupts_per_page(&["reclaim-scan", "--cpus", "4", "--memory", "4M"], "/work/pages_reclaimed");
    assert!(off > 0.5 && on <= 0.05 * off, "{on} with batches, {off} without");
}

#[test]
fn batches_save_interrupts_of_migration() {
    for cpus in ["4", "16"] {
        let arguments = ["migrate-nodes", "--cpus", cpus, "--memory", "16M"];
        let [on, off] = interrupts_per_page(&arguments, "/work/pages_migrated");
        assert!(off > 0.5 && on <= 0.01 * off, "{cpus} CPUs: {on} with batches, {off} without");
    }
}

#[test]
fn processes_live_in_swap() {
    for machine in [&["--deterministic"][..], &[]] {
        let document = clean(&[&["swap-storm", "--cpus", "2", "--memory", "4M"], machine].concat());
        assert_eq!(document["settings"]["swap_bytes"], 64 << 20);
        assert!(number(&document, "/work/pages_swapped_in") > 1000);
        // 128 processes in one line: most pages have few users, and walks do not go past them.
        let (walks, looks) = (number(&document, "/counters/rmap_walks"), number(&document, "/counters/rmap_looks"));
        assert!(walks > 1000 && looks < 32 * walks, "{looks} places in {walks} walks");
    }
}

#[test]
fn which_memory_gets_huge_pages_is_said() {
    let run = |more: &[&str]| clean(&[&["huge-heap", "--cpus", "2", "--deterministic"], more].concat());
    let always = run(&[]);
    assert_eq!(always["settings"]["thp"], "always");
    for (name, least) in [("thp_fault_alloc", 100), ("thp_split_pmd", 100), ("thp_collapse", 0)] {
        assert!(number(&always, &format!("/counters/{name}")) > least, "{name}");
    }
    assert!(number(&always, "/tlb/huge_misses") > 0 && number(&always, "/memory/frames_by_use/anonymous_huge") >= 512);
    for (name, counter) in
        [("faulted", "thp_fault_alloc"), ("collapsed", "thp_collapse"), ("mappings_split", "thp_split_pmd")]
    {
        assert_eq!(always["huge_pages"][name], always["counters"][counter]);
    }
    for policy in ["madvise", "never"] {
        let without = run(&["--thp", policy]);
        assert_eq!((&without["settings"]["thp"], number(&without, "/tlb/huge_misses")), (&policy.into(), 0));
        assert_eq!(number(&without, "/huge_pages/faulted") + number(&without, "/huge_pages/collapsed"), 0);
        assert_eq!(number(&without, "/memory/frames_by_use/anonymous_huge"), 0);
        assert_eq!(always["accesses"], without["accesses"], "what the program does is the same");
    }
    let text = String::from_utf8(vellum(&["run", "huge-heap", "--cpus", "2", "--deterministic"]).stdout).unwrap();
    for part in [
        "huge pages always",
        "in huge pages, ",
        "came with faults",
        "were made of small pages",
        "mapped as small pages since",
        " of huge pages); ",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    complaint(&vellum(&["run", "huge-heap", "--thp", "sometimes"]), 2);
}

#[test]
fn tags_follow_their_pages() {
    for arch in ["aarch64", "sparc64"] {
        let run = ["tagged-heap", "--arch", arch, "--cpus", "2", "--memory", "4M"];
        let document = clean(&[&run[..], &["--deterministic"]].concat());
        assert!(number(&document, "/tag_traps") > 100);
        assert!(number(&document, "/work/pages_swapped_in") > 100);
        assert!(number(&document, "/work/pages_migrated") > 100);
    }
}

#[test]
fn workloads_say_what_they_need() {
    let line = complaint(&vellum(&["run", "tagged-heap", "--arch", "x86_64"]), 2);
    assert!(line.contains("tags") && line.contains("aarch64"), "{line}");
    let line = complaint(&vellum(&["run", "migrate-nodes", "--nodes", "1"]), 2);
    assert!(line.contains("--nodes 2"), "{line}");
    // The memory it runs with where none is said.
    for zswap in ["32M", "1G"] {
        let line = complaint(&vellum(&["run", "swap-storm", "--swap", "64M", "--zswap", zswap]), 2);
        assert!(line.contains("--zswap"), "{line}");
    }
    for size in ["0", "1K", "much"] {
        complaint(&vellum(&["run", "reclaim-scan", "--memory", size]), 2);
    }
}

#[test]
fn pressure_is_reported_for_people() {
    let output =
        vellum(&["run", "tagged-heap", "--arch", "aarch64", "--cpus", "2", "--memory", "4M", "--deterministic"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in
        ["4 MiB on 2 nodes, 16 MiB of swap", "reclaim ", "working set", "swap  ", "migration ", "rmap ", "tags "]
    {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}
