//! Replays of small logs: what each rule of traces comes to, and random programs, which must be found clean.

use std::fmt::Write;
use vellum::arch::X86_64;
use vellum::ops::HugePages;
use vellum_lab::outcome::{Outcome, RunError};
use vellum_lab::pressure::Pressure;
use vellum_lab::replay::{ReplayOptions, replay};
use vellum_lab::trace::TraceReader;

const OPTIONS: ReplayOptions = ReplayOptions { cpus: 2, frames: 4096, checks_tables: true, pressure: Pressure::NONE };

fn reader(body: &str) -> TraceReader {
    let log = format!("==7== Lackey, an example Valgrind tool\n{body}==7== Exit code:       0\n");
    TraceReader::from_reader("test", Box::new(std::io::Cursor::new(log.into_bytes()))).unwrap()
}

fn run_on(body: &str, options: &ReplayOptions) -> Result<Outcome, RunError> {
    replay::<X86_64>(reader(body), options, &mut |_| ())
}

/// Replays a log, which must be clean.
fn run(body: &str) -> Outcome {
    let outcome = run_on(body, &OPTIONS).unwrap_or_else(|error| panic!("{error}\n{body}"));
    assert!(outcome.is_clean(), "{:?} {:?}\n{body}", outcome.oracle.first, outcome.audit);
    assert_eq!(outcome.audit, Some(Ok(())));
    outcome
}

fn counter(outcome: &Outcome, name: &str) -> u64 {
    outcome.counters.iter().find(|(known, _)| *known == name).unwrap().1
}

/// A completed call of thread 1.
fn call(text: &str, result: u64) -> String {
    format!("SYSCALL[7,1](0) {text} --> [pre-success] Success({result:#x}) \n")
}

fn mmap(address: u64, length: u64, prot: u64, flags: u64, fd: i64) -> String {
    call(&format!("sys_mmap ( {address:#x}, {length}, {prot}, {flags}, {fd}, 0 )"), address)
}

const PRIVATE: u64 = 0x22;
const SHARED: u64 = 0x21;
const FIXED: u64 = 0x10;

#[test]
fn pages_and_records_are_counted() {
    let outcome = run("I  00401ffe,4\n L 00600000,8\n S 00600008,8\n M 1ffeffeff8,8\n");
    assert_eq!((outcome.accesses, outcome.pages_touched), (4, 4));
    assert_eq!((outcome.oracle.loads_checked, outcome.oracle.loads_after_store), (2, 0));
    // Two pages of the program and one of data; the stack grew by itself.
    assert_eq!(outcome.implicit_pages, 3);
    assert_eq!(counter(&outcome, "stack_grow"), 1);
}

/// Nobody knows where a program's stack ends above.
#[test]
fn stacks_have_no_huge_pages() {
    let pressure = Pressure { huge_pages: HugePages::Always, ..Pressure::NONE };
    let map = mmap(0x1000_0000, 0x40_0000, 3, PRIVATE, -1);
    let body = format!("{map} S 1fff000800,8\n S 1ffee00800,8\n S 10000000,8\n S 10200000,8\n");
    let outcome = run_on(&body, &ReplayOptions { pressure, ..OPTIONS }).unwrap();
    assert!(outcome.is_clean());
    // The mapping has two.
    assert_eq!((counter(&outcome, "thp_fault_alloc"), counter(&outcome, "stack_grow")), (2, 2));
}

#[test]
fn accesses_after_munmap_get_a_signal_and_count_as_touched() {
    let map = mmap(0x1000_0000, 0x3000, 3, PRIVATE, -1);
    let unmap = call("sys_munmap ( 0x10001000, 4096 )", 0);
    let outcome = run(&format!("{map} S 10001000,8\n{unmap} L 10001000,8\n S 10002ff8,8\n L 10002ff8,8\n"));
    assert_eq!((outcome.segv, outcome.pages_touched, outcome.implicit_pages), (1, 2, 0));
    assert_eq!(outcome.oracle.loads_checked, 1);
}

#[test]
fn denied_accesses_get_a_signal() {
    let map = mmap(0x1000_0000, 0x2000, 1, PRIVATE, -1);
    let outcome = run(&format!("{map} S 10000000,8\n L 10000000,8\nI  10000000,2\n M 10000000,4\n"));
    assert_eq!((outcome.segv, outcome.oracle.loads_checked), (3, 1));
}

#[test]
fn unmappable_addresses_get_a_signal() {
    let outcome = run("I  ffffffffff600000,8\n L 00000008,8\n S 7ffffffff000,8\n L 00600000,8\n");
    assert_eq!((outcome.segv, outcome.implicit_pages, outcome.pages_touched), (3, 1, 4));
}

#[test]
fn protecting_makes_implicit_pages_first() {
    let protect = call("sys_mprotect ( 0x600000, 12288, 1 )", 0);
    let outcome = run(&format!(" S 00601000,8\n{protect} L 00602000,8\n S 00602000,8\n L 00601000,8\n"));
    assert_eq!((outcome.implicit_pages, outcome.segv), (3, 1));
    assert_eq!(outcome.oracle.loads_after_store, 1);
}

#[test]
fn mappings_replace_implicit_pages_only() {
    let first = mmap(0x1000_0000, 0x1000, 3, PRIVATE, -1);
    let second = mmap(0x1000_0000, 0x3000, 3, PRIVATE, -1);
    let outcome = run(&format!("{first} S 10000000,8\n S 10001000,8\n{second} L 10000000,8\n L 10001000,8\n"));
    assert_eq!(outcome.implicit_pages, 1);
    assert_eq!(outcome.oracle.loads_after_store, 1, "the logged mapping stays, the implicit page goes");
    assert_eq!(outcome.refused_calls.total(), 1);
    let second = mmap(0x1000_0000, 0x3000, 3, PRIVATE | FIXED, -1);
    let outcome = run(&format!("{first} S 10000000,8\n{second} L 10000000,8\n"));
    assert_eq!((outcome.oracle.loads_checked, outcome.oracle.loads_after_store), (1, 0));
}

#[test]
fn files_are_known_by_their_paths() {
    let open = call("sys_openat ( 4294967196, 0x4000(/tmp/data), 0 )", 3);
    let close = call("sys_close ( 3 )", 0);
    let private = mmap(0x1000_0000, 0x2000, 3, 2, 3);
    let shared = mmap(0x2000_0000, 0x2000, 3, 1, 4);
    let again = call("sys_openat ( 4294967196, 0x4000(/tmp/data), 0 )", 4);
    let accesses = " L 10000000,8\n S 20000000,8\n L 10000000,8\n S 10000008,8\n S 20000008,8\n L 10000008,8\n";
    let outcome = run(&format!("{open}{private}{close}{again}{shared}{accesses}"));
    assert_eq!((outcome.oracle.loads_checked, outcome.segv, outcome.bus), (3, 0, 0));
    // The private mapping shows the shared store until it has a copy of its own.
    assert_eq!(outcome.oracle.loads_after_store, 2);
}

#[test]
fn the_heap_grows_and_shrinks() {
    let brk = |end: u64| call(&format!("sys_brk ( {end:#x} )"), end);
    let (grow, shrink) = (brk(0x80_3000), brk(0x80_1000));
    let outcome = run(&format!(
        "{}{grow} S 00802ff8,8\n S 00800000,8\n{shrink} L 00802ff8,8\n L 00800000,8\n{grow} L 00802ff8,8\n",
        call("sys_brk ( 0x0 )", 0x80_0000)
    ));
    assert_eq!((outcome.segv, outcome.implicit_pages), (1, 0));
    assert_eq!((outcome.oracle.loads_checked, outcome.oracle.loads_after_store), (2, 1));
}

#[test]
fn moved_mappings_keep_their_contents() {
    let map = mmap(0x1000_0000, 0x2000, 3, PRIVATE, -1);
    let remap = call("sys_mremap ( 0x10000000, 8192, 16384, 0x1 )", 0x3000_0000);
    let outcome = run(&format!("{map} S 10001000,8\n{remap} L 30001000,8\n L 30003000,8\n L 10001000,8\n"));
    assert_eq!((outcome.segv, outcome.oracle.loads_checked, outcome.oracle.loads_after_store), (1, 2, 1));
}

#[test]
fn advice_is_taken_or_counted() {
    let map = mmap(0x1000_0000, 0x2000, 3, PRIVATE, -1);
    let advise = |advice: u64| call(&format!("sys_madvise ( 0x10000000, 8192, {advice} )"), 0);
    let (dont_need, free) = (advise(4), advise(8));
    let outcome = run(&format!("{map} S 10000000,8\n{free} L 10000000,8\n{dont_need} L 10000000,8\n"));
    assert_eq!((outcome.oracle.loads_checked, outcome.oracle.loads_after_store), (2, 1));
    assert_eq!(outcome.ignored_calls.iter().collect::<Vec<_>>(), [("madvise MADV_FREE", 1)]);
}

/// A guard goes where its mapping goes, and leaves the rest of it alone.
#[test]
fn guards_are_replayed() {
    let map = mmap(0x1000_0000, 0x4000, 3, PRIVATE, -1);
    let advise = |address: u64, advice: u64| call(&format!("sys_madvise ( {address:#x}, 4096, {advice} )"), 0);
    let (install, remove) = (advise(0x1000_1000, 102), advise(0x3000_1000, 103));
    let protect = call("sys_mprotect ( 0x10000000, 16384, 3 )", 0);
    let remap = call("sys_mremap ( 0x10000000, 16384, 20480, 0x1 )", 0x3000_0000);
    let outcome = run(&format!(
        "{map} S 10000000,8\n S 10001000,8\n{install}{protect} L 10001000,8\n L 10000000,8\n\
         {remap} S 30001000,8\n L 30000000,8\n L 30004000,8\n{remove} L 30001000,8\n S 30001000,8\n L 30001000,8\n"
    ));
    assert_eq!((outcome.segv, outcome.implicit_pages, outcome.oracle.violations), (2, 0, 0));
    assert_eq!((outcome.oracle.loads_checked, outcome.oracle.loads_after_store), (5, 3));
}

#[test]
fn children_without_a_stream_are_forked_and_end() {
    let fork = call("sys_fork ( )", 9);
    let outcome = run(&format!(" S 00600000,8\n{fork} S 00600000,8\n L 00600000,8\n"));
    assert_eq!(counter(&outcome, "pgfork"), 1);
    assert!(outcome.warnings.iter().any(|warning| warning.contains("1 forked children")), "{:?}", outcome.warnings);
}

#[test]
fn children_run_their_own_streams() {
    let folder = std::env::temp_dir().join(format!("vellum-replay-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |pid: u32, body: &str| {
        let log = format!("=={pid}== Lackey, an example Valgrind tool\n{body}=={pid}== Exit code:       0\n");
        std::fs::write(folder.join(format!("log.{pid}")), log).unwrap();
    };
    let map = mmap(0x1000_0000, 0x2000, 3, SHARED, -1);
    let fork = call("sys_fork ( )", 9);
    write(7, &format!("{map} S 00600000,8\n S 10000000,8\n{fork} S 00600000,8\n L 00600000,8\n"));
    write(9, " L 00600000,8\n L 10000000,8\n S 00600000,8\n S 10001000,8\n L 00600000,8\n");
    let reader = TraceReader::open(&folder.join("log.7")).unwrap();
    let outcome = replay::<X86_64>(reader, &OPTIONS, &mut |_| ()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(outcome.is_clean(), "{:?}", outcome.oracle.first);
    assert_eq!((outcome.accesses, outcome.pages_touched), (9, 3));
    assert_eq!((outcome.oracle.loads_checked, outcome.oracle.loads_after_store), (4, 4));
    assert!(counter(&outcome, "pgfault_copy") >= 1);
}

#[test]
fn the_schedulers_word_on_a_signal_is_skipped() {
    let signal =
        "--7--   SCHED[1]:  acquired lock (async_signalhandler)\nSCHEDSETJMP(line 1211) tid 1, jumped=1476724588\n";
    let outcome = run(&format!("{} S 00600000,8\n{signal} L 00600000,8\n", call("sys_fork ( )", 9)));
    assert_eq!((outcome.accesses, outcome.oracle.loads_after_store), (2, 1));
}

#[test]
fn exhausted_memory_ends_the_run() {
    let map = mmap(0x1000_0000, 0x400_0000, 3, PRIVATE, -1);
    let stores: String = (0..0x4000).map(|page| format!(" S {:08x},8\n", 0x1000_0000 + page * 0x1000)).collect();
    let error = run_on(&format!("{map}{stores}"), &ReplayOptions { frames: 1024, ..OPTIONS }).unwrap_err();
    assert!(matches!(error, RunError::OutOfMemory { accesses: 500..1024, .. }), "{error}");
    assert!(!error.to_string().contains('\n'));
}

/// A random program of one or two threads within a few dozen pages.
struct Program {
    random: fastrand::Rng,
    text: String,
    heap: Option<u64>,
}

const BASE: u64 = 0x1000_0000;
const SPAN: u64 = 48;

impl Program {
    fn make(seed: u64) -> String {
        let mut program = Program { random: fastrand::Rng::with_seed(seed), text: String::new(), heap: None };
        for number in 0..6 {
            program.text += &call(&format!("sys_openat ( 4294967196, 0x4000(/file-{number}), 0 )"), 3 + number / 2);
        }
        for _ in 0..400 {
            match program.random.u32(0..100) {
                0..84 => program.access(),
                84..86 => {
                    let thread = program.random.u32(1..3);
                    let _ = writeln!(program.text, "--7--   SCHED[{thread}]:  acquired lock (VG_(scheduler))");
                }
                _ => program.call(),
            }
        }
        program.text
    }

    fn page(&mut self) -> u64 {
        match self.random.u32(0..20) {
            0 => 0x1f_feff_f000 - self.random.u64(0..600) * 0x1000,
            1 => 0x80_0000 + self.random.u64(0..12) * 0x1000,
            _ => BASE + self.random.u64(0..SPAN) * 0x1000,
        }
    }

    fn range(&mut self) -> (u64, u64) {
        let start = self.random.u64(0..SPAN);
        let pages = self.random.u64(1..=(SPAN - start).min(12));
        (BASE + start * 0x1000, pages * 0x1000)
    }

    fn access(&mut self) {
        let kind = self.random.choice(["I ", " L", " L", " S", " S", " M"]).unwrap();
        let size = [1, 2, 4, 8, 8, 16, 32, 200][self.random.usize(0..8)];
        let address = self.page() + self.random.u64(0..0x1000);
        let _ = writeln!(self.text, "{kind} {address:08x},{size}");
    }

    fn call(&mut self) {
        let (start, length) = self.range();
        let prot = [0, 1, 3, 3, 5, 7][self.random.usize(0..6)];
        let line = match self.random.u32(0..13) {
            0..4 => {
                let fixed = FIXED * self.random.u64(0..2);
                let growing = if self.random.u32(0..8) == 0 { 0x100 } else { 0 };
                let flags = [PRIVATE | growing, SHARED, 1, 2][self.random.usize(0..4)];
                mmap(start, length, prot, flags | fixed, self.random.i64(3..8))
            }
            4 | 5 => call(&format!("sys_munmap ( {start:#x}, {length} )"), 0),
            6 | 7 => call(&format!("sys_mprotect ( {start:#x}, {length}, {prot} )"), 0),
            8 => {
                let advice = [0, 1, 2, 3, 4, 4, 8, 10, 11, 18, 19, 22, 23][self.random.usize(0..13)];
                call(&format!("sys_madvise ( {start:#x}, {length}, {advice} )"), 0)
            }
            9 | 10 => {
                let (target, new_length) = self.range();
                let result = if self.random.bool() { start } else { target };
                let flags = [1, 1, 3, 7][self.random.usize(0..4)];
                let new_length = if flags == 7 { length } else { new_length };
                call(&format!("sys_mremap ( {start:#x}, {length}, {new_length}, {flags:#x} )"), result)
            }
            11 => {
                let end = self.heap.map_or(0x80_0000, |_| 0x80_0000 + self.random.u64(0..0xc000));
                self.heap = Some(end);
                call(&format!("sys_brk ( {end:#x} )"), end)
            }
            _ => call("sys_fork ( )", 100 + self.random.u64(0..50)),
        };
        self.text += &line;
    }
}

#[test]
fn random_programs_are_clean() {
    let programs = std::env::var("VELLUM_REPLAY_PROGRAMS").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    let mut checked = 0;
    for seed in 0..programs {
        let body = Program::make(seed);
        let outcome = run_on(&body, &ReplayOptions { cpus: 1 + seed as usize % 3, ..OPTIONS })
            .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{body}"));
        assert!(outcome.is_clean(), "seed {seed}: {:?} {:?}\n{body}", outcome.oracle.first, outcome.audit);
        checked += outcome.oracle.loads_after_store;
    }
    assert!(checked > programs * 20, "{checked} loads after stores");
}

/// The same log, damaged anyhow: replayed, or refused with a reason, and never a panic.
#[test]
fn damaged_logs_never_panic() {
    let numbers =
        ["0", "1", "4096", "4097", "0x1000", "0x7ffffffff000", "18446744073709551615", "0xffffffffffffffff", "x"];
    let mut random = fastrand::Rng::with_seed(1);
    for seed in 0..300 {
        let log = Program::make(seed);
        let mut lines: Vec<String> = log.lines().map(str::to_string).collect();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(0..lines.len());
            let line = &mut lines[at];
            match random.u32(0..4) {
                0 => line.truncate(random.usize(0..=line.len())),
                1 => {
                    let place = random.usize(0..=line.len());
                    line.insert(place, char::from(random.u8(32..127)));
                }
                2 => drop(lines.remove(at)),
                _ => {
                    let words: Vec<_> = line.split(' ').map(str::to_string).collect();
                    let chosen = random.usize(0..words.len());
                    let number = numbers[random.usize(0..numbers.len())];
                    let changed = words.iter().enumerate();
                    let changed = changed.map(|(index, word)| if index == chosen { number } else { word.as_str() });
                    *line = changed.collect::<Vec<_>>().join(" ");
                }
            }
        }
        let log = lines.join("\n") + "\n";
        let Ok(reader) = TraceReader::from_reader("damaged", Box::new(std::io::Cursor::new(log.into_bytes()))) else {
            continue;
        };
        match replay::<X86_64>(reader, &OPTIONS, &mut |_| ()) {
            Ok(outcome) => assert!(outcome.is_clean(), "seed {seed}: {:?} {:?}", outcome.oracle.first, outcome.audit),
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        }
    }
}
