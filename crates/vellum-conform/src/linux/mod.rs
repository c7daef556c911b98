//! Linux's side: real processes of the system that runs this.
//!
//! * `worker`: the processes. `shared`: how they are told what to do. `raw`: system calls, loads and stores.
//! * `maps`: what they have mapped. Here is what drives them.

mod maps;
mod raw;
mod shared;
mod worker;

use crate::abi::{MADV_GUARD_INSTALL, MADV_HUGEPAGE};
use crate::arena::PAGE;
use crate::differences::Version;
use crate::files::{self, Ends, FILES, LENGTH_MAX};
use crate::maps::Line;
use crate::op::{Call, Outcome, PROCESSES};
use maps::Identity;
use shared::{COMMANDS, Command, DRIVER, Reply, SUMS, Shared};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Seconds after which a process that does not answer is given up.
const PATIENCE: i64 = 20;
/// A number that no open file has.
const NO_FILE: u64 = 1 << 20;

/// Linux, ready to run sequences.
pub struct Linux {
    shared: &'static Shared,
    /// The process from which those of sequences are forked.
    ancestor: libc::pid_t,
    files: Vec<OpenFile>,
    /// A file of one word.
    word: File,
    version: Version,
    has_guards: bool,
    sequences: u32,
    is_running: bool,
}

/// A file of a sequence.
struct OpenFile {
    /// To look at, and to fill.
    whole: File,
    /// As sequences have it.
    used: File,
    identity: Identity,
}

impl Linux {
    /// Starts what sequences need.
    ///
    /// # Errors
    /// Why this system cannot run them.
    pub fn start() -> Result<Linux, String> {
        let say = |error: io::Error| format!("this Linux cannot run sequences: {error}");
        let files = (0..FILES.len()).map(OpenFile::open).collect::<io::Result<Vec<_>>>().map_err(say)?;
        let word = memory().map_err(say)?;
        let shared = Shared::map().map_err(say)?;
        // SAFETY: the child calls nothing but the system.
        let ancestor = match unsafe { raw::call(libc::SYS_fork as u64, [0; 6]) } as i64 {
            0 => worker::ancestor(shared),
            error @ ..0 => return Err(say(io::Error::from_raw_os_error(-error as i32))),
            pid => pid as libc::pid_t,
        };
        let (version, has_guards) = (version(), files.iter().all(|file| takes_advice(&file.whole, MADV_GUARD_INSTALL)));
        let linux = Linux { shared, ancestor, files, word, version, has_guards, sequences: 0, is_running: false };
        if !shared.wait(DRIVER, PATIENCE) {
            return Err("this Linux cannot run sequences: a process that was forked does not answer".into());
        }
        match shared.ready.load(Acquire) {
            1 => Ok(linux),
            error => Err(say(io::Error::from_raw_os_error((error >> 32) as i32))),
        }
    }

    /// Whether sequences have a heap in the arena.
    pub fn has_heap(&self) -> bool {
        self.shared.has_heap.load(Relaxed) == 1
    }

    /// Whether its files clear what lies behind their end when they grow: those on tmpfs do not.
    pub fn clears_behind_ends(&self) -> bool {
        self.files.iter().zip(&FILES).all(|(file, spec)| spec.is_memory || !is_on_tmpfs(&file.whole))
    }

    /// Whether its files can have holes: not on every file system.
    pub fn makes_holes(&self) -> bool {
        self.files.iter().all(|file| makes_hole(&file.whole))
    }

    /// Whether all mappings can have guards: those of files since 6.15, private anonymous ones since 6.13.
    pub fn has_guards(&self) -> bool {
        self.has_guards
    }

    /// Whether memory can be advised to have huge pages: not if it is built without them.
    pub fn has_huge_pages(&self) -> bool {
        takes_advice(&self.word, MADV_HUGEPAGE)
    }

    /// Which Linux it is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Begins a sequence: with one process, number 0, with nothing in its arena, and fresh files.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(&mut self, ends: Ends) -> io::Result<()> {
        self.end()?;
        for (number, file) in self.files.iter().enumerate() {
            file.whole.set_len(0)?;
            file.whole.write_all_at(&files::contents(number, ends), 0)?;
        }
        self.shared.processes.iter().for_each(|process| process.store(0, Relaxed));
        self.shared.write(&[]);
        self.sequences += 1;
        self.is_running = true;
        self.shared.turn.store(0, Release);
        self.shared.begun.store(self.sequences, Release);
        raw::wake(&self.shared.begun, 1);
        self.await_turn()
    }

    /// Carries calls out, each by its process, in order. The outcome of each.
    ///
    /// # Errors
    /// If the processes do not answer.
    pub fn run(&mut self, calls: &[(usize, Call, usize)]) -> io::Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(calls.len());
        for calls in calls.chunks(COMMANDS) {
            let commands: Vec<_> =
                calls.iter().map(|(process, call, child)| (*process as u32, self.command(call, *child))).collect();
            self.carry_out(&commands)?;
            outcomes.extend(
                calls.iter().enumerate().map(|(index, (_, call, _))| outcome(call, self.shared.replied(index))),
            );
        }
        Ok(outcomes)
    }

    /// What process `process` has mapped.
    ///
    /// # Errors
    /// If it is gone.
    pub fn maps(&self, process: usize) -> io::Result<Vec<Line>> {
        let known = |identity: &str| self.files.iter().position(|file| file.identity == identity);
        maps::read(self.shared.processes[process].load(Relaxed), |identity| known(identity).map(|number| number as u64))
    }

    /// The sums of all pages of `lines`, as process `process` sees them.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn sums(&mut self, process: usize, lines: &[Line]) -> io::Result<Vec<u64>> {
        let mut count = 0;
        let mut commands = Vec::new();
        for line in lines {
            let pages = ((line.end - line.start) / PAGE).min(SUMS as u64 - count);
            commands.push((process as u32, Command::Sum(line.start, pages, count)));
            count += pages;
        }
        for commands in commands.chunks(COMMANDS) {
            self.carry_out(commands)?;
        }
        Ok(self.shared.sums[..count as usize].iter().map(|sum| sum.load(Relaxed)).collect())
    }

    /// What file `number` contains.
    ///
    /// # Errors
    /// What the system says.
    pub fn contents(&self, number: usize) -> io::Result<Vec<u8>> {
        let file = &self.files[number].whole;
        let mut bytes = vec![0; file.metadata()?.len().min(LENGTH_MAX) as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Ends the sequence that runs, if one does.
    ///
    /// # Errors
    /// If its processes do not end.
    pub fn end(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_running) {
            return Ok(());
        }
        worker::end(self.shared);
        loop {
            match self.shared.ended.load(Acquire) {
                ended if ended == self.sequences => return Ok(()),
                ended => {
                    if !raw::wait(&self.shared.ended, ended, 1, PATIENCE) {
                        return Err(io::Error::other("the processes of a sequence do not end"));
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, commands: &[(u32, Command)]) -> io::Result<()> {
        if commands.is_empty() {
            return Ok(());
        }
        self.shared.write(commands);
        self.shared.pass();
        self.await_turn()
    }

    fn await_turn(&self) -> io::Result<()> {
        if self.shared.wait(DRIVER, PATIENCE) && self.shared.command().is_none() {
            return Ok(());
        }
        let command = self.shared.command();
        Err(io::Error::other(format!("the processes of a sequence do not answer; the last command was {command:x?}")))
    }

    /// The command for a call; `child` is the number of the process that it forks, if it does.
    fn command(&self, call: &Call, child: usize) -> Command {
        let number = |file: i32| match usize::try_from(file).ok().and_then(|number| self.files.get(number)) {
            Some(file) => file.used.as_raw_fd() as u64,
            None if file < 0 => file as u64,
            None => NO_FILE,
        };
        match *call {
            Call::Map { address, length, prot, flags, file, offset } => {
                Command::Call(libc::SYS_mmap as u64, [address, length, prot, flags, number(file), offset])
            }
            Call::Unmap { address, length } => Command::Call(libc::SYS_munmap as u64, [address, length, 0, 0, 0, 0]),
            Call::Protect { address, length, prot } => {
                Command::Call(libc::SYS_mprotect as u64, [address, length, prot, 0, 0, 0])
            }
            Call::Remap { address, length, new_length, flags, new_address } => {
                Command::Call(libc::SYS_mremap as u64, [address, length, new_length, flags, new_address, 0])
            }
            Call::Advise { address, length, advice } => {
                Command::Call(libc::SYS_madvise as u64, [address, length, advice, 0, 0, 0])
            }
            Call::Brk { end } => Command::Call(libc::SYS_brk as u64, [end, 0, 0, 0, 0, 0]),
            Call::Sync { address, length, flags } => {
                Command::Call(libc::SYS_msync as u64, [address, length, flags, 0, 0, 0])
            }
            Call::Residency { address, length } => Command::Residency(address, length),
            Call::Truncate { file, length } => {
                Command::Call(libc::SYS_ftruncate as u64, [number(file), length, 0, 0, 0, 0])
            }
            Call::Load { address } => Command::Load(address),
            Call::Store { address, value } => Command::Store(address, value),
            Call::Read { address, value } => Command::Read(self.word.as_raw_fd() as u64, address, value),
            Call::Write { address } => Command::Write(self.word.as_raw_fd() as u64, address),
            Call::Fork => Command::Fork(child.min(PROCESSES - 1) as u64),
            Call::Exit => Command::Exit,
        }
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        let has_ended = self.end().is_ok();
        // SAFETY: the process was forked here, is waited for here alone, and leads a group of its own.
        unsafe {
            if !has_ended {
                libc::kill(-self.ancestor, libc::SIGKILL);
            }
            libc::kill(self.ancestor, libc::SIGKILL);
            libc::waitpid(self.ancestor, std::ptr::null_mut(), 0);
            libc::munmap(std::ptr::from_ref(self.shared).cast_mut().cast(), size_of::<Shared>());
        }
    }
}

impl OpenFile {
    fn open(number: usize) -> io::Result<OpenFile> {
        let spec = &FILES[number];
        let whole = if spec.is_memory { memory()? } else { temporary()? };
        whole.set_len(PAGE)?;
        let used = File::options()
            .read(spec.readable)
            .write(spec.writable)
            .open(format!("/proc/self/fd/{}", whole.as_raw_fd()))?;
        let identity = mapped_identity(&whole)?;
        Ok(OpenFile { whole, used, identity })
    }
}

/// The version of this Linux; 0.0 if it does not say.
fn version() -> Version {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// A file that is memory.
fn memory() -> io::Result<File> {
    // SAFETY: the name is a string that ends.
    match unsafe { libc::memfd_create(c"vellum-conform".as_ptr(), libc::MFD_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: nobody else has it.
        number => Ok(unsafe { File::from_raw_fd(number) }),
    }
}

/// A file in the folder for temporary files, whose name is gone already.
fn temporary() -> io::Result<File> {
    static FILES: AtomicU64 = AtomicU64::new(0);
    let number = FILES.fetch_add(1, Relaxed);
    let path = std::env::temp_dir().join(format!("vellum-conform-{}-{number}", std::process::id()));
    // `create_new` follows no link that somebody has put there.
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn is_on_tmpfs(file: &File) -> bool {
    // SAFETY: a zeroed structure is one, and large enough.
    unsafe {
        let mut system: libc::statfs = std::mem::zeroed();
        libc::fstatfs(file.as_raw_fd(), &mut system) == 0 && system.f_type == libc::TMPFS_MAGIC
    }
}

/// Whether `file` can have a hole; if so, what lies far behind any end of it is one now.
fn makes_hole(file: &File) -> bool {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (offset, length) = (2 * LENGTH_MAX as libc::off_t, PAGE as libc::off_t);
    // SAFETY: nobody looks there.
    unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) == 0 }
}

/// Whether a mapping of `file` can have a guard, or takes other advice.
fn takes_advice(file: &File, advice: u64) -> bool {
    // SAFETY: a new mapping, which goes at once.
    unsafe {
        let (null, number) = (std::ptr::null_mut(), file.as_raw_fd());
        let at = libc::mmap(null, PAGE as usize, libc::PROT_READ, libc::MAP_SHARED, number, 0);
        let is_taken = at != libc::MAP_FAILED && libc::madvise(at, PAGE as usize, advice as i32) == 0;
        libc::munmap(at, PAGE as usize);
        is_taken
    }
}

/// What `/proc/PID/maps` calls a file.
fn mapped_identity(file: &File) -> io::Result<Identity> {
    // SAFETY: a new mapping, which goes at once.
    unsafe {
        let (null, number) = (std::ptr::null_mut(), file.as_raw_fd());
        let at = libc::mmap(null, PAGE as usize, libc::PROT_READ, libc::MAP_SHARED, number, 0);
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let identity = maps::identity(at as u64);
        libc::munmap(at, PAGE as usize);
        identity
    }
}

fn outcome(call: &Call, reply: Reply) -> Outcome {
    match call {
        Call::Load { .. } | Call::Store { .. } if reply.fault != 0 => {
            Outcome::Signal(reply.fault as u32, (reply.fault >> 32) as u32, reply.address)
        }
        Call::Load { .. } | Call::Store { .. } => Outcome::Value(reply.value),
        _ if reply.value > u64::MAX - 4096 => Outcome::Error(-(reply.value as i64) as i32),
        Call::Residency { .. } => Outcome::Resident(reply.address),
        Call::Read { .. } => Outcome::Value(0),
        Call::Write { .. } => Outcome::Value(reply.address),
        _ => Outcome::Value(reply.value),
    }
}
