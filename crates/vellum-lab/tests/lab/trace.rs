//! Traces: what the parser makes of real log lines, what it refuses, and the compact form.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use vellum_lab::trace::{
    Access, AccessKind, Call, CallKind, CloneKind, CompactWriter, Event, Place, Reason, RecordError, RecordOptions,
    Scrubber, Summary, ThreadSource, TraceError, TraceFormat, TraceReader, Warning, record,
};

const FOOTER: &str = "==100== \n==100== Exit code:       0\n";

/// All the events of a log, or the error.
fn read(log: &[u8]) -> Result<(Vec<Event>, TraceReader), TraceError> {
    let mut reader = TraceReader::from_reader("log", Box::new(std::io::Cursor::new(log.to_vec())))?;
    let mut events = Vec::new();
    while let Some(event) = reader.next_event()? {
        events.push(event);
    }
    Ok((events, reader))
}

fn events(log: &str) -> Vec<Event> {
    read(log.as_bytes()).unwrap().0
}

fn calls(log: &str) -> Vec<CallKind> {
    let log = format!("I  0401ab70,3\n{log}");
    let call = |event| if let Event::Call(call) = event { Some(call.kind) } else { None };
    events(&log).into_iter().filter_map(call).collect()
}

/// The one line that a log is refused with.
fn refusal(log: &str) -> String {
    let message = read(log.as_bytes()).map(drop).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

fn access(kind: AccessKind, address: u64, size: u16) -> Event {
    Event::Access(Access { kind, size, address })
}

fn thread(tid: u32, is_exact: bool) -> Event {
    Event::Thread { tid, is_exact }
}

fn call(tid: u32, kind: CallKind) -> Event {
    Event::Call(Box::new(Call { tid, kind }))
}

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces").join(name)
}

/// A folder of the test's own.
fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("vellum-trace-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Counts a log's records and pages by itself: a second opinion on the parser.
fn count_plainly(log: &str) -> (u64, usize) {
    let mut accesses = 0;
    let mut pages = HashSet::new();
    for line in log.lines() {
        // A record may be glued behind a call's outcome.
        let line = line.rfind(") I  ").map_or(line, |at| &line[at + 2..]);
        if !["I  ", " L ", " S ", " M "].iter().any(|kind| line.starts_with(kind)) {
            continue;
        }
        let (address, size) = line[3..].split_once(',').unwrap();
        let first = u64::from_str_radix(address, 16).unwrap();
        accesses += 1;
        pages.insert(first / 4096);
        pages.insert((first + size.parse::<u64>().unwrap() - 1) / 4096);
    }
    (accesses, pages.len())
}

fn count_events(mut reader: TraceReader) -> (u64, usize, TraceReader) {
    let mut pages = HashSet::new();
    while let Some(event) = reader.next_event().unwrap() {
        if let Event::Access(access) = event {
            let (first, second) = access.parts();
            pages.insert(first.address / 4096);
            pages.extend(second.map(|second| second.address / 4096));
        }
    }
    (reader.summary().accesses, pages.len(), reader)
}

// The four kinds of access, and how they are split.

#[test]
fn accesses_are_read_in_order() {
    let log = "I  0401ab70,3\n L 04a17de0,8\n S 1fff000778,16\n M 04a1ea88,1\nI  ffffffffff600000,9\n";
    let expected = [
        access(AccessKind::Execute, 0x401_ab70, 3),
        access(AccessKind::Load, 0x4a1_7de0, 8),
        access(AccessKind::Store, 0x1f_ff00_0778, 16),
        access(AccessKind::Modify, 0x4a1_ea88, 1),
        access(AccessKind::Execute, 0xffff_ffff_ff60_0000, 9),
    ];
    assert_eq!(events(log), expected);
}

#[test]
fn an_access_that_crosses_a_page_has_two_parts() {
    let whole = Access { kind: AccessKind::Load, size: 8, address: 0x1ffd };
    let (first, second) = whole.parts();
    assert_eq!((first.address, first.size), (0x1ffd, 3));
    let second = second.unwrap();
    assert_eq!((second.kind, second.address, second.size), (AccessKind::Load, 0x2000, 5));
    assert_eq!(Access { address: 0x1ff8, ..whole }.parts().1, None);
}

#[test]
fn kinds_know_what_they_do() {
    assert!(AccessKind::Modify.is_read() && AccessKind::Modify.is_write());
    assert!(!AccessKind::Execute.is_read() && !AccessKind::Load.is_write());
}

// What stands between the accesses.

#[test]
fn valgrinds_own_lines_are_skipped() {
    let log = "==100== Lackey, an example Valgrind tool\n==100== Command: ./program\n\n--100--   SCHED[1]: entering VG_(scheduler)\n\
               I  00001000,1\n**100** said by the program\nvex amd64->IR: unhandled instruction bytes\n==100== Exit code:       0\n";
    let (events, reader) = read(log.as_bytes()).unwrap();
    assert_eq!(events, [thread(1, true), access(AccessKind::Execute, 0x1000, 1)]);
    assert_eq!((reader.pid(), reader.warnings()), (Some(100), vec![]));
}

#[test]
fn a_record_glued_behind_a_call_counts() {
    let log = "SYSCALL[100,1](56) sys_clone ( 3d0f00, 0x5a2af70, 0x5a2b990, 0x5a2b990, 0x5a2b6c0 ) --> [pre-success] Success(0x66) I  0494db42,3\n\
               SYSCALL[100,1](56) sys_clone ( 3d0f00, 0x1, 0x2, 0x3, 0x4 ) --> [pre-success] Success(0x67)  L 0494db40,8\n\
               SYSCALL[100,1](56) sys_clone ( 3d0f00, 0x1, 0x2, 0x3, 0x4 ) --> [pre-success] Success(0x68) SYSCALL[100,2](11) sys_munmap ( 0x4000, 33 )[sync] --> Success(0x0) \n";
    let made = |child| call(1, CallKind::Clone { kind: CloneKind::Thread, flags: Some(0x3d0f00), child });
    let expected = [
        thread(1, false),
        made(0x66),
        access(AccessKind::Execute, 0x494_db42, 3),
        made(0x67),
        access(AccessKind::Load, 0x494_db40, 8),
        made(0x68),
        thread(2, false),
        call(2, CallKind::Munmap { address: 0x4000, length: 33 }),
    ];
    assert_eq!(events(log), expected);
}

#[test]
fn an_outcome_may_stand_on_the_next_line() {
    let log = "SYSCALL[100,1](334) unimplemented (by the kernel) syscall: 334! (ni_syscall)\n --> [pre-fail] Failure(0x26) \n\
               SYSCALL[100,1](56) sys_clone ( 1200011, 0x0, 0x0, 0x4a27a10, 0x0 )   clone(fork): process 100 created child 104\n \
               --> [pre-success] Success(0x68) --100--   SCHED[1]: releasing lock (VG_(vg_yield)) -> VgTs_Yielding\n\n\
               SYSCALL[100,1](58) sys_fork ( )   fork: process 100 created child 105\n --> [pre-success] Success(0x69) I  00001000,1\n";
    let (events, reader) = read(log.as_bytes()).unwrap();
    let forked = |flags, child| call(1, CallKind::Clone { kind: CloneKind::Process, flags: Some(flags), child });
    let expected = [thread(1, false), forked(0x1200011, 104), forked(0, 105), access(AccessKind::Execute, 0x1000, 1)];
    assert_eq!(events, expected);
    assert_eq!(reader.summary().failed_calls, 1);
}

#[test]
fn a_childs_log_begins_with_the_forks_outcome() {
    let log = "==104== Parent PID: 100\n==104== \n --> [pre-success] Success(0x0) \nI  04919353,6\n";
    assert_eq!(events(log), [access(AccessKind::Execute, 0x491_9353, 6)]);
}

#[test]
fn a_path_may_hold_line_ends_and_parentheses() {
    let log = "SYSCALL[100,1](257) sys_openat ( 4294967196, 0x10a004(/a (b)\nI am --> c), 0 ) --> [async] ... \n\
               SYSCALL[100,1](257) ... [async] --> Success(0x4) \n";
    assert_eq!(calls(log), [CallKind::Open { fd: 4, path: (*b"/a (b)\nI am --> c").into() }]);
}

// Calls.

#[test]
fn calls_are_decoded() {
    let log = "SYSCALL[100,1](9) sys_mmap ( 0x4838000, 4096, 5, 2066, 4, 4096 ) --> [pre-success] Success(0x4838000) \n\
               SYSCALL[100,1](9) sys_mmap ( 0x0, 8192, 3, 34, 4294967295, 0 ) --> [pre-success] Success(0x4835000) \n\
               SYSCALL[100,1](10) sys_mprotect ( 0x4a14000, 16384, 1 )[sync] --> Success(0x0) \n\
               SYSCALL[100,1](25) sys_mremap ( 0x483c000, 8192, 65536, 0x1 ) --> [pre-success] Success(0x622d000) \n\
               SYSCALL[100,1](12) sys_brk ( 0x0 ) --> [pre-success] Success(0x4035000) \n\
               SYSCALL[100,1](28) sys_madvise ( 0x483c000, 8192, 4 )[sync] --> Success(0x0) \n\
               SYSCALL[100,1](150) sys_munlock ( 0x483c000, 8192 )[sync] --> Success(0x0) \n\
               SYSCALL[100,1](3) sys_close ( 4 )[sync] --> Success(0x0) \n\
               SYSCALL[100,1](39) sys_getpid ()[sync] --> Success(0x64) \n\
               SYSCALL[100,1](15) sys_rt_sigreturn ( ) --> [pre-success] NoWriteResult \n\
               SYSCALL[100,1](60) exit( 0 ) --> [pre-success] Success(0x0) \n\
               SYSCALL[100,1](231) exit_group( 0 ) --> [pre-success] Success(0x0) \n";
    let mapped = |hint, length, protection, flags, fd, offset, result| CallKind::Mmap {
        hint,
        length,
        protection,
        flags,
        fd,
        offset,
        result,
    };
    let other = |name: &str| CallKind::Other { name: name.into() };
    let expected = [
        mapped(0x483_8000, 4096, 5, 2066, 4, 4096, 0x483_8000),
        mapped(0, 8192, 3, 34, -1, 0, 0x483_5000),
        CallKind::Mprotect { address: 0x4a1_4000, length: 16384, protection: 1 },
        CallKind::Mremap { address: 0x483_c000, old_length: 8192, new_length: 65536, flags: 1, result: 0x622_d000 },
        CallKind::Brk { requested: 0, result: 0x403_5000 },
        CallKind::Madvise { address: 0x483_c000, length: 8192, advice: 4 },
        CallKind::Munlock { address: 0x483_c000, length: 8192 },
        CallKind::Close { fd: 4 },
        other("getpid"),
        other("rt_sigreturn"),
        CallKind::ExitThread,
        CallKind::ExitProcess,
    ];
    assert_eq!(calls(log), expected);
}

#[test]
fn failed_calls_are_counted_and_not_carried() {
    let log = "I  00001000,1\nSYSCALL[100,1](11) sys_munmap ( 0x1, 4096 )[sync] --> Failure(0x16) \n\
               SYSCALL[100,1](257) sys_openat ( 4294967196, 0x402a2a0(/file-2), 4 ) --> [async] ... \n\
               SYSCALL[100,1](257) ... [async] --> Failure(0x2) \n";
    let (_, reader) = read(log.as_bytes()).unwrap();
    assert_eq!((reader.summary().calls, reader.summary().failed_calls), (0, 2));
}

#[test]
fn async_calls_are_paired_by_thread_and_number() {
    let log = "SYSCALL[100,1](149) sys_mlock ( 0x1000, 1 ) --> [async] ... \n\
               SYSCALL[100,2](149) sys_mlock ( 0x2000, 2 ) --> [async] ... \n\
               SYSCALL[100,2](28) ... [async] --> Success(0x0) \n\
               SYSCALL[100,1](149) ... [async] --> Success(0x0) \n\
               SYSCALL[100,2](149) ... [async] --> Success(0x0) \nI  00001000,1\n";
    let (events, reader) = read(log.as_bytes()).unwrap();
    let locked = |tid, address, length| call(tid, CallKind::Mlock { address, length, flags: 0 });
    let made: Vec<_> = events.into_iter().filter(|event| matches!(event, Event::Call(_))).collect();
    assert_eq!(made, [locked(1, 0x1000, 1), locked(2, 0x2000, 2)]);
    assert!(reader.warnings().contains(&Warning::UnpairedCalls(1)));
}

#[test]
fn execve_ends_a_stream_without_line_end_and_footer() {
    let log = "I  00001000,1\nSYSCALL[105,1](59) sys_execve ( 0x10a014(/file-1), 0x1fff0005d0, 0x1fff000798 )";
    let (events, reader) = read(log.as_bytes()).unwrap();
    assert_eq!(events.last(), Some(&call(1, CallKind::Exec)));
    assert_eq!(reader.warnings(), [Warning::MissingFooter]);
}

// Threads.

#[test]
fn schedule_lines_name_the_thread_and_outrank_calls() {
    let log = "--100--   SCHED[1]:  acquired lock (thread_wrapper(starting new thread))\nI  00001000,1\n\
               --100--   SCHED[1]: releasing lock (VG_(client_syscall)[async]) -> VgTs_WaitSys\n\
               --100--   SCHED[2]:  acquired lock (VG_(client_syscall)[async])\nI  00001001,1\n\
               SYSCALL[100,1](24) sys_sched_yield()[sync] --> Success(0x0) \nI  00001002,1\n";
    let (events, reader) = read(log.as_bytes()).unwrap();
    let threads: Vec<_> = events.iter().filter(|event| matches!(event, Event::Thread { .. })).collect();
    assert_eq!(threads, [&thread(1, true), &thread(2, true)]);
    assert_eq!(reader.summary().thread_source, ThreadSource::Schedule);
    assert!(!reader.summary().has_approximate_threads());
}

#[test]
fn threads_from_calls_are_approximate() {
    let log = "I  00001000,1\nSYSCALL[100,1](24) sys_sched_yield()[sync] --> Success(0x0) \n\
               SYSCALL[100,2](24) sys_sched_yield()[sync] --> Success(0x0) \nI  00001002,1\n==100== Exit code: 0\n";
    let (events, reader) = read(log.as_bytes()).unwrap();
    assert!(events.contains(&thread(2, false)));
    assert_eq!(reader.warnings(), [Warning::ApproximateThreads]);
}

// What is refused, and what only warned about.

#[test]
fn impossible_accesses_are_refused_with_their_line() {
    assert_eq!(refusal("I  00001000,1\n L 00001000,0\n"), "log: line 2: access of 0 bytes (1 to 4096 are possible)");
    assert_eq!(refusal(" L 00001000,4097\n"), "log: line 1: access of 4097 bytes (1 to 4096 are possible)");
    assert!(refusal(" S 800000000000,1\n").contains("line 1: access of 1 bytes at 0x800000000000 is not canonical"));
    assert!(refusal(" S 7ffffffffffc,8\n").contains("not canonical"));
    assert!(refusal(" S ffff7ffffffffffe,1\n").contains("not canonical"));
    assert!(refusal(" S fffffffffffffffc,8\n").contains("wraps around"));
    assert!(refusal("I  00001000,1\n S 10000000000000000,8\n").contains("line 2: malformed access"));
    assert!(refusal(" S 00x0,8\n").contains("malformed"));
    assert_eq!(events(" S 00001000,4096\n S 7ffffffffff8,8\n").len(), 2);
}

#[test]
fn damaged_logs_are_refused() {
    assert_eq!(refusal(""), "log: the file is empty");
    assert!(refusal(FOOTER).starts_with("log: no access in the whole trace"));
    assert_eq!(refusal("I  00001000,1\n S 1fff0"), "log: line 2: the last line is cut: it has no line end");
    assert!(refusal("I  00001000,1\n S 1fff000,8").contains("line 2: the last line is cut"));
    assert!(refusal("I  00001000,1\n==100== Exit co").contains("line 2: the last line is cut"));
    assert!(
        refusal("I  00001000,1\nhello\u{7} there\n").contains("line 2: not a line of a lackey log: “hello? there”")
    );
    assert_eq!(refusal("\u{7f}ELF and so on"), "log: neither a lackey log nor a compact trace");
    assert!(
        refusal("I  00001000,1\nSYSCALL[100,1](9) sys_mmap ( 0x0, x ) --> [pre-success] Success(0x1) \n")
            .contains("line 2: cannot read the call “sys_mmap ( 0x0, x )”")
    );
    assert!(refusal("I  00001000,1\nSYSCALL[100\n").contains("line 2: cannot read the call"));
    assert!(refusal(&"x".repeat(9 << 20)).contains("neither"));
}

#[test]
fn several_processes_in_one_log_are_refused() {
    let shredded = format!("I  00001000,1\n{FOOTER}==101== Lackey, an example Valgrind tool\n");
    assert!(refusal(&shredded).contains("line 4: processes 100 and 101 wrote into one log"));
    assert!(refusal(&shredded).contains("--log-file=NAME.%p"));
    let calls = "SYSCALL[100,1](39) sys_getpid ()[sync] --> Success(0x64) \nSYSCALL[101,1](39) sys_getpid ()[sync] --> Success(0x65) \n";
    assert!(refusal(calls).contains("%p"));
    let forked = "I  00001000,1\nSYSCALL[100,1](58) sys_fork ( )   fork: process 100 created child 105\n\
                  I  00001001,1\n --> [pre-success] Success(0x69) L 04032b10,4\n";
    assert!(refusal(forked).contains("line 4: unreadable line “L 04032b10,4”: the forked process 105"));
    assert!(refusal(forked).contains("%p"));
    let banner = "==100== Lackey, an example Valgrind tool\n";
    assert!(refusal(&format!("{banner}I  00001000,1\n{banner}")).contains("%p"));
}

#[test]
fn a_missing_footer_is_a_warning() {
    let (_, reader) = read(b"I  00001000,1\n").unwrap();
    assert_eq!(reader.warnings(), [Warning::MissingFooter]);
    let (_, reader) = read(format!("I  00001000,1\n{FOOTER}").as_bytes()).unwrap();
    assert_eq!(reader.warnings(), []);
}

#[test]
fn after_an_error_there_are_no_more_events() {
    let log = &b"I  00001000,0\nI  00001000,1\n"[..];
    let mut reader = TraceReader::from_reader("log", Box::new(log)).unwrap();
    let error = reader.next_event().unwrap_err();
    assert_eq!((error.file(), error.place()), ("log", Place::Line(1)));
    assert!(matches!(error.reason(), Reason::BadSize { size: 0 }));
    assert!(reader.next_event().unwrap().is_none());
}

// The compact form.

fn compact(events: &[Event], summary: &Summary) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = CompactWriter::new(&mut bytes, Some(100)).unwrap();
    events.iter().for_each(|event| writer.write(event).unwrap());
    let length = writer.finish(summary, true).unwrap();
    assert_eq!(length, bytes.len() as u64);
    bytes
}

#[test]
fn the_compact_form_keeps_a_real_trace_and_is_small() {
    let mut reader = TraceReader::open(&bundled("threads.100.xz")).unwrap();
    let mut written = Vec::new();
    while let Some(event) = reader.next_event().unwrap() {
        written.push(event);
    }
    let bytes = compact(&written, &reader.summary());
    assert!(bytes.len() * 3 < written.len(), "{} bytes for {} events", bytes.len(), written.len());
    let (events, again) = read(&bytes).unwrap();
    assert!(events == written);
    assert_eq!(again.summary(), reader.summary());
    assert_eq!((again.format(), again.pid()), (TraceFormat::Compact, Some(100)));
    assert_eq!(again.warnings(), [Warning::MissingFooter]);
}

#[test]
fn the_compact_form_keeps_every_kind_of_event() {
    let all = [
        thread(1, true),
        thread(70000, false),
        access(AccessKind::Modify, 0xffff_ffff_ff60_0000, 4096),
        access(AccessKind::Execute, 0, 1),
        call(1, CallKind::Mmap { hint: 1, length: u64::MAX, protection: 3, flags: 4, fd: -1, offset: 5, result: 6 }),
        call(1, CallKind::Munmap { address: 1, length: 2 }),
        call(1, CallKind::Mprotect { address: 1, length: 2, protection: 3 }),
        call(1, CallKind::Mremap { address: 1, old_length: 2, new_length: 3, flags: 4, result: 5 }),
        call(1, CallKind::Brk { requested: 1, result: 2 }),
        call(1, CallKind::Madvise { address: 1, length: 2, advice: 3 }),
        call(1, CallKind::Mlock { address: 1, length: 2, flags: 3 }),
        call(1, CallKind::Munlock { address: 1, length: 2 }),
        call(1, CallKind::MlockAll { flags: 1 }),
        call(1, CallKind::MunlockAll),
        call(1, CallKind::Open { fd: 3, path: (*b"/a\xff\n").into() }),
        call(1, CallKind::Close { fd: 3 }),
        call(1, CallKind::Clone { kind: CloneKind::Thread, flags: None, child: 7 }),
        call(1, CallKind::Clone { kind: CloneKind::Process, flags: Some(0), child: 7 }),
        call(1, CallKind::Exec),
        call(1, CallKind::ExitThread),
        call(1, CallKind::ExitProcess),
        call(1, CallKind::Other { name: "read".into() }),
    ];
    assert_eq!(read(&compact(&all, &Summary::default())).unwrap().0, all);
}

#[test]
fn a_cut_or_changed_compact_trace_is_refused() {
    let log = "I  00001000,1\n S 1fff000778,8\nI  00001001,3\n";
    let bytes = compact(&events(log), &Summary::default());
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).map(drop).unwrap_err();
        assert!(matches!(error.reason(), Reason::Cut | Reason::Empty | Reason::UnknownFormat));
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(read(&changed).is_err(), "byte {at} changed unnoticed");
    }
    assert!(read(&[&bytes[..], b"x"].concat()).is_err(), "something behind the end");
    let empty = compact(&[], &Summary::default());
    assert!(matches!(read(&empty).map(drop).unwrap_err().reason(), Reason::NoAccess));
}

#[test]
fn scrubbing_takes_out_paths_and_numbers() {
    let mut scrubber = Scrubber::new();
    assert_eq!(scrubber.task(2330), 1);
    let open = |path: &[u8]| call(1, CallKind::Open { fd: 3, path: path.into() });
    assert_eq!(scrubber.scrub(open(b"/home/me/x")), open(b"file-1"));
    assert_eq!(scrubber.scrub(open(b"/y")), open(b"file-2"));
    assert_eq!(scrubber.scrub(open(b"/home/me/x")), open(b"file-1"));
    let fork = |child| call(1, CallKind::Clone { kind: CloneKind::Process, flags: Some(0), child });
    assert_eq!(scrubber.scrub(fork(2334)), fork(2));
}

// Files, compression and children.

#[test]
fn compression_is_seen_by_content() {
    let log = format!("I  00001000,1\n{FOOTER}");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(log.as_bytes()).unwrap();
    let mut xz = Vec::new();
    liblzma::read::XzEncoder::new(log.as_bytes(), 1).read_to_end(&mut xz).unwrap();
    let zstd = ruzstd::encoding::compress_to_vec(log.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    for packed in [gzip.finish().unwrap(), xz, zstd] {
        assert_eq!(read(&packed).unwrap().0, [access(AccessKind::Execute, 0x1000, 1)]);
        let error = read(&packed[..packed.len() - 9]).map(drop).unwrap_err();
        assert!(matches!(error.reason(), Reason::Io(_)), "{error}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let open =
        |path: &Path| TraceReader::open(path).and_then(|mut reader| reader.next_event()).unwrap_err().to_string();
    assert_eq!(open(Path::new("no/such.log")), "no/such.log: no such file");
    let folder = scratch("folder");
    assert!(open(&folder).ends_with("is a directory"));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn children_are_found_beside_their_parent() {
    let mut parent = TraceReader::open(&bundled("threads.100.xz")).unwrap();
    let mut children = Vec::new();
    while let Some(event) = parent.next_event().unwrap() {
        if let Event::Call(call) = event
            && let CallKind::Clone { kind: CloneKind::Process, child, .. } = call.kind
        {
            children.push(child);
        }
    }
    assert_eq!(children, [104, 105]);
    for child in children {
        let (accesses, _, reader) = count_events(parent.open_child(child).unwrap());
        assert!(accesses > 1000);
        assert_eq!(reader.pid(), Some(child));
    }
    let missing = parent.open_child(106).map(drop).unwrap_err();
    assert!(missing.to_string().ends_with("the stream of the forked child 106 is missing"));
    let nameless = read(b"I  00001000,1\n").unwrap().1.open_child(2).map(drop).unwrap_err();
    assert!(matches!(nameless.reason(), Reason::NoSiblings { child: 2 }));
}

#[test]
fn counts_agree_with_a_plain_count() {
    for name in ["threads.100.xz", "threads.104.xz", "threads.105.xz"] {
        let mut log = String::new();
        let file = fs::File::open(bundled(name)).unwrap();
        liblzma::read::XzDecoder::new(file).read_to_string(&mut log).unwrap();
        let (accesses, pages, _) = count_events(TraceReader::open(&bundled(name)).unwrap());
        assert_eq!((accesses, pages), count_plainly(&log), "{name}");
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimisation")]
fn the_bundled_trace_is_what_its_readme_says() {
    let (accesses, pages, reader) = count_events(TraceReader::open(&bundled("sort.vtrace")).unwrap());
    assert_eq!((accesses, pages, reader.pid()), (27_953_366, 4599, Some(1)));
    assert_eq!(reader.warnings(), []);
}

// Recording.

#[test]
fn a_program_is_recorded() {
    let folder = scratch("record");
    let output = folder.join("true.vtrace");
    match record(&RecordOptions::new(&output, "true", vec![])) {
        Ok(recording) => {
            assert!(recording.status.success());
            let file = &recording.files[0];
            assert_eq!((file.pid, file.bytes), (1, fs::metadata(&output).unwrap().len()));
            let (accesses, _, _) = count_events(TraceReader::open(&output).unwrap());
            assert_eq!((accesses, file.summary.accesses), (file.summary.accesses, accesses));
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "the logs are left over");
        }
        Err(error) => assert!(matches!(error, RecordError::NoValgrind(_)), "{error}"),
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_missing_valgrind_is_named() {
    let folder = scratch("missing");
    let mut options = RecordOptions::new(folder.join("x"), "true", vec![]);
    options.valgrind = "no-such-valgrind".into();
    let message = record(&options).unwrap_err().to_string();
    assert_eq!(message, "no-such-valgrind: not found; install the package “valgrind” to record traces");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir_all(folder).unwrap();
}
