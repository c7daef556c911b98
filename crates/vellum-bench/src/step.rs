//! Running a job one instruction at a time, by ptrace: for how many in a row pre-emption is off, and how deep the stack gets.
//!
//! The program runs itself. The part that is stepped through says where the [`Watched`] word lies, by a breakpoint with its
//! address in a register; from there on the other looks at it, and at the stack pointer, after each instruction.

use super::BenchError;
use super::callgrind::CHILD;
use super::machine::{WATCHED, Watched};
use std::arch::asm;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// What was seen of a job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stepped {
    /// The most instructions in a row with pre-emption off.
    pub longest: u64,
    /// How often it was switched off.
    pub sections: u64,
    /// All instructions. In none of the figures are those that clear and copy pages, or are a device's.
    pub instructions: u64,
    /// How much further the stack reached than where the job began, in bytes.
    pub stack: u64,
}

/// Begins what is stepped through.
#[inline(never)]
pub fn begin() {
    // SAFETY: a breakpoint does nothing but stop the program; whoever traces it reads the register. Without a tracer the
    // program ends, which only a call by hand meets.
    unsafe { asm!("int3", in("rdi") &raw const WATCHED, options(nostack)) };
}

/// Ends it.
pub fn end() {
    WATCHED.set_done();
}

/// Runs `job` of this program under its eyes.
pub fn step(job: &str) -> Result<Stepped, BenchError> {
    let failed = |error: io::Error| BenchError::Trace(error.to_string());
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("bench").env(CHILD, job).stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: one system call, which is safe after fork.
    unsafe { command.pre_exec(|| request(libc::PTRACE_TRACEME, 0, 0, 0).map(|_| ())) };
    let mut child = command.spawn().map_err(failed)?;
    let tracee = Tracee(child.id() as libc::pid_t);
    let seen = tracee.watch();
    if seen.is_err() {
        let _ = child.kill();
    }
    let _ = child.wait();
    seen.map_err(failed)
}

/// Where in the processor's registers, as ptrace has them, the address and the stack pointer are.
const RDI: usize = std::mem::offset_of!(libc::user_regs_struct, rdi);
const RSP: usize = std::mem::offset_of!(libc::user_regs_struct, rsp);

struct Tracee(libc::pid_t);

impl Tracee {
    /// Goes through the whole job.
    fn watch(&self) -> io::Result<Stepped> {
        // It stops when it has become this program, and then where the job begins.
        self.await_trap()?;
        self.resume(libc::PTRACE_CONT)?;
        self.await_trap()?;
        let (watched, top) = (self.register(RDI)?, self.register(RSP)?);
        let mut seen = Stepped::default();
        let mut in_a_row = 0;
        loop {
            self.resume(libc::PTRACE_SINGLESTEP)?;
            self.await_trap()?;
            let now = Watched::seen(request(libc::PTRACE_PEEKDATA, self.0, watched, 0)?);
            if now.is_done {
                break;
            }
            if now.is_apart {
                continue;
            }
            seen.instructions += 1;
            seen.sections += u64::from(now.is_inside && in_a_row == 0);
            in_a_row = if now.is_inside { in_a_row + 1 } else { 0 };
            seen.longest = seen.longest.max(in_a_row);
            seen.stack = seen.stack.max(top.saturating_sub(self.register(RSP)?));
        }
        self.resume(libc::PTRACE_CONT)?;
        Ok(seen)
    }

    /// Waits until the program has stopped by a breakpoint or a step.
    fn await_trap(&self) -> io::Result<()> {
        let mut status = 0;
        // SAFETY: a system call with a place for its result.
        if unsafe { libc::waitpid(self.0, &raw mut status, 0) } != self.0 {
            return Err(io::Error::last_os_error());
        }
        match libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTRAP {
            true => Ok(()),
            false => Err(io::Error::other(format!("the job ended early, with status {status:#x}"))),
        }
    }

    fn resume(&self, how: libc::c_uint) -> io::Result<()> {
        request(how, self.0, 0, 0).map(|_| ())
    }

    fn register(&self, offset: usize) -> io::Result<u64> {
        request(libc::PTRACE_PEEKUSER, self.0, offset as u64, 0)
    }
}

/// A request to the kernel; the word that it reads, if it does.
fn request(what: libc::c_uint, tracee: libc::pid_t, address: u64, data: u64) -> io::Result<u64> {
    // SAFETY: errno is the thread's own, and the requests used here touch no memory of this program.
    let (word, error) = unsafe {
        *libc::__errno_location() = 0;
        let word = libc::ptrace(what, tracee, address, data);
        (word, *libc::__errno_location())
    };
    if word == -1 && error != 0 { Err(io::Error::from_raw_os_error(error)) } else { Ok(word as u64) }
}
