//! No input makes the trace readers panic, loop or take much memory.

use fastrand::Rng;
use std::io::Cursor;
use vellum_lab::trace::{CompactWriter, Event, TraceReader};

const ROUNDS: u64 = 4000;
const SEED: u64 = 0x7e11;

/// Pieces of which logs are made, sound and unsound.
const PIECES: [&str; 24] = [
    "I  0401ab70,3\n",
    " L 04a17de0,8\n",
    " S 1fff000ffc,16\n",
    " M 04a1ea88,1\n",
    "==100== Lackey, an example Valgrind tool\n",
    "==100== Exit code:       0\n",
    "--100--   SCHED[2]:  acquired lock (VG_(vg_yield))\n",
    "SYSCALL[100,1](9) sys_mmap ( 0x0, 8192, 3, 34, 4294967295, 0 ) --> [pre-success] Success(0x4835000) \n",
    "SYSCALL[100,1](257) sys_openat ( 4294967196, 0x10a004(/file-25), 0 ) --> [async] ... \n",
    "SYSCALL[100,1](257) ... [async] --> Success(0x4) \n",
    "SYSCALL[100,1](56) sys_clone ( 3d0f00, 0x0, 0x0 ) --> [pre-success] Success(0x66) I  0494db42,3\n",
    "SYSCALL[100,1](56) sys_clone ( 1200011, 0x0 )   clone(fork): process 100 created child 104\n",
    " --> [pre-success] Success(0x68) \n",
    "SYSCALL[100,1](334) unimplemented (by the kernel) syscall: 334! (ni_syscall)\n",
    "SYSCALL[100,1](25) sys_mremap ( 0x483c000, 8192, 65536, 0x1 ) --> [pre-success] Success(0x622d000) \n",
    "SYSCALL[100,1](12) sys_brk ( 0x0 ) --> [pre-success] Success(0x4035000) \n",
    "SYSCALL[100,1](59) sys_execve ( 0x10a014(/file-1), 0x1fff0005d0, 0x1fff000798 )",
    "SYSCALL[100,1](2) sys_open ( )( ) --> Success(0x1) \n",
    "SYSCALL[](]) --> \n",
    "SYSCALL[99999999999,1](3) x\n",
    "\n",
    "==\n--\n",
    " \n",
    "\u{0}\u{ff}",
];

/// Reads to the end or to the first error; panics are the failure.
fn drain(bytes: Vec<u8>) -> (usize, bool) {
    let Ok(mut reader) = TraceReader::from_reader("fuzz", Box::new(Cursor::new(bytes))) else {
        return (0, false);
    };
    let mut events = 0;
    loop {
        match reader.next_event() {
            Ok(Some(_)) => events += 1,
            Ok(None) => return (events, true),
            Err(error) => {
                assert!(!error.to_string().contains('\n'));
                assert!(matches!(reader.next_event(), Ok(None)));
                return (events, false);
            }
        }
    }
}

fn random_log(rng: &mut Rng) -> Vec<u8> {
    let sound = PIECES.len() - if rng.bool() { 0 } else { 8 };
    (0..rng.usize(1..40)).flat_map(|_| PIECES[rng.usize(..sound)].bytes()).collect()
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(..4) {
        let at = rng.usize(..bytes.len().max(1));
        match rng.u8(..5) {
            _ if bytes.is_empty() => return,
            0 => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes[at] = rng.u8(..),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, *rng.choice(b"\n ,()[]0fxI-=".iter()).unwrap()),
            _ => drop(bytes.drain(at..(at + rng.usize(..8)).min(bytes.len()))),
        }
    }
}

#[test]
fn mutated_logs_do_not_panic() {
    let mut rng = Rng::with_seed(SEED);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..ROUNDS {
        let mut log = random_log(&mut rng);
        mutate(&mut rng, &mut log);
        match drain(log).1 {
            true => read += 1,
            false => refused += 1,
        }
    }
    // The fuzzer itself works: it meets both outcomes often.
    assert!(read > ROUNDS / 20 && refused > ROUNDS / 4, "{read} read, {refused} refused");
}

/// The events of a random log that can be read, and their compact form.
fn random_compact(rng: &mut Rng) -> Vec<u8> {
    let log: Vec<u8> = (0..rng.usize(1..40)).flat_map(|_| PIECES[rng.usize(..10)].bytes()).collect();
    let mut reader = TraceReader::from_reader("log", Box::new(Cursor::new(log))).unwrap();
    let mut bytes = Vec::new();
    let mut writer = CompactWriter::new(&mut bytes, None).unwrap();
    while let Ok(Some(event)) = reader.next_event() {
        writer.write(&event).unwrap();
        if let Event::Access(access) = event {
            let moved = vellum_lab::trace::Access { address: access.address ^ rng.u64(..1 << 40), ..access };
            writer.write(&Event::Access(moved)).unwrap();
        }
    }
    writer.finish(&reader.summary(), false).unwrap();
    bytes
}

#[test]
fn mutated_compact_traces_are_refused() {
    let mut rng = Rng::with_seed(SEED);
    for _ in 0..ROUNDS / 8 {
        let sound = random_compact(&mut rng);
        drain(sound.clone());
        for _ in 0..8 {
            let mut changed = sound.clone();
            mutate(&mut rng, &mut changed);
            let (_, is_read) = drain(changed.clone());
            assert!(!is_read || changed == sound, "a change went unnoticed");
        }
    }
}

/// Damage behind a right checksum: the decoder itself meets arbitrary streams.
#[test]
fn forged_blocks_do_not_panic() {
    let mut rng = Rng::with_seed(SEED);
    for _ in 0..ROUNDS {
        let streams: [Vec<u8>; 4] = std::array::from_fn(|_| {
            (0..rng.usize(..60)).map(|_| if rng.bool() { rng.u8(..8) } else { rng.u8(..) }).collect()
        });
        let events = if rng.bool() { rng.u64(..100) } else { rng.u64(..1 << 20) };
        drain(forge(&mut rng, events, &streams));
    }
}

/// A compact trace of one block with these streams; lengths are now and then wrong.
fn forge(rng: &mut Rng, events: u64, streams: &[Vec<u8>; 4]) -> Vec<u8> {
    let mut trace = b"VLMTRACE\x01\0\0\0\0\0\0\0".to_vec();
    trace.extend_from_slice(&crc(&trace).to_le_bytes());
    let kind = if rng.u8(..8) == 0 { b'E' } else { b'B' };
    let mut block = vec![kind];
    block.extend_from_slice(&events.to_le_bytes());
    for stream in streams {
        let lie = if rng.u8(..40) == 0 { rng.u32(..) } else { 0 };
        block.extend_from_slice(&(stream.len() as u32 ^ lie).to_le_bytes());
    }
    let packed = zip(&streams.concat());
    block.extend_from_slice(&(packed.len() as u32).to_le_bytes());
    block.extend_from_slice(&packed);
    block.extend_from_slice(&crc(&block).to_le_bytes());
    trace.extend_from_slice(&block);
    trace
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    std::io::Read::read_to_end(&mut liblzma::read::XzEncoder::new(bytes, 0), &mut packed).unwrap();
    packed
}
