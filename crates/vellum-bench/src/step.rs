//! Running a job one instruction at a time: for how many in a row pre-emption is off, and how deep the stack gets.
//!
//! The program runs itself, and the part that is stepped through looks at itself: the processor's trap flag is set, and
//! with it each instruction ends in a signal, whose handler has a stack of its own. A debugger would see the same, for
//! twice the time.

use super::BenchError;
use super::callgrind::CHILD;
use super::machine::is_preemption_off;
use std::arch::asm;
use std::ffi::c_void;
use std::io;
use std::process::{Command, Stdio};
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What was seen of a job.
#[derive(Clone, Copy, Debug)]
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

/// What the handler has seen so far.
struct Seen {
    longest: AtomicU64,
    in_a_row: AtomicU64,
    sections: AtomicU64,
    instructions: AtomicU64,
    lowest: AtomicU64,
}

static SEEN: Seen = Seen {
    longest: AtomicU64::new(0),
    in_a_row: AtomicU64::new(0),
    sections: AtomicU64::new(0),
    instructions: AtomicU64::new(0),
    lowest: AtomicU64::new(u64::MAX),
};

/// Whether a job is being stepped through.
static IS_ON: AtomicBool = AtomicBool::new(false);
/// Whether what runs is to be counted.
static COUNTS: AtomicBool = AtomicBool::new(false);
/// In the processor's flags: after the next instruction there is a trap.
const TRAP_FLAG: i64 = 1 << 8;

/// Steps through `body`, and prints what was seen, for [`step`] to read.
pub fn through(body: impl FnOnce()) {
    let alone = "a thread can have a handler and a stack for it";
    handle_traps().expect(alone);
    let top: u64;
    // SAFETY: it only tells the stack pointer.
    unsafe { asm!("mov {}, rsp", out(reg) top, options(nomem, nostack, preserves_flags)) };
    IS_ON.store(true, Relaxed);
    go_on();
    body();
    COUNTS.store(false, Relaxed);
    IS_ON.store(false, Relaxed);
    let Seen { longest, sections, instructions, lowest, .. } = &SEEN;
    let stack = top.saturating_sub(lowest.load(Relaxed));
    println!("{} {} {} {stack}", longest.load(Relaxed), sections.load(Relaxed), instructions.load(Relaxed));
}

/// Runs `body` at full speed, uncounted.
#[inline(always)]
pub fn without(body: impl FnOnce()) {
    COUNTS.store(false, Relaxed);
    body();
    if IS_ON.load(Relaxed) {
        go_on();
    }
}

/// From here on is stepped through.
#[inline(always)]
fn go_on() {
    COUNTS.store(true, Relaxed);
    // SAFETY: a breakpoint does nothing but call the handler, which is there when this is called.
    unsafe { asm!("int3", options(nostack)) };
}

/// After a breakpoint and, from then on, after each instruction.
extern "C" fn trapped(_signal: i32, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands over the state of the thread, which is this handler's alone.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let flags = registers[libc::REG_EFL as usize];
    if !COUNTS.load(Relaxed) {
        registers[libc::REG_EFL as usize] = flags & !TRAP_FLAG;
        return;
    }
    registers[libc::REG_EFL as usize] = flags | TRAP_FLAG;
    if flags & TRAP_FLAG != 0 {
        count(registers[libc::REG_RSP as usize] as u64);
    }
}

/// Counts an instruction after which the stack is as deep as that.
fn count(stack_pointer: u64) {
    let add = |to: &AtomicU64| to.store(to.load(Relaxed) + 1, Relaxed);
    add(&SEEN.instructions);
    SEEN.lowest.store(SEEN.lowest.load(Relaxed).min(stack_pointer), Relaxed);
    if !is_preemption_off() {
        return SEEN.in_a_row.store(0, Relaxed);
    }
    if SEEN.in_a_row.load(Relaxed) == 0 {
        add(&SEEN.sections);
    }
    add(&SEEN.in_a_row);
    SEEN.longest.store(SEEN.longest.load(Relaxed).max(SEEN.in_a_row.load(Relaxed)), Relaxed);
}

/// Has this thread's traps handled by [`trapped`], on a stack of its own.
fn handle_traps() -> io::Result<()> {
    const STACK: usize = 64 << 10;
    let stack = Box::leak(vec![0_u8; STACK].into_boxed_slice()).as_mut_ptr().expose_provenance();
    let stack = libc::stack_t { ss_sp: with_exposed_provenance_mut(stack), ss_flags: 0, ss_size: STACK };
    // SAFETY: the stack is there for ever, and the handler has the form that the flags ask for.
    let results = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = trapped as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        [libc::sigaltstack(&raw const stack, null_mut()), libc::sigaction(libc::SIGTRAP, &raw const action, null_mut())]
    };
    if results == [0, 0] { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs `job` of this program, which steps through it.
pub fn step(job: &str) -> Result<Stepped, BenchError> {
    let failed = |error: io::Error| BenchError::Trace(error.to_string());
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("bench").env(CHILD, job).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = Vec::from_iter(text.split_whitespace().map_while(|figure| figure.parse().ok()));
    match (output.status.success(), &figures[..]) {
        (true, &[longest, sections, instructions, stack]) => Ok(Stepped { longest, sections, instructions, stack }),
        _ => Err(BenchError::Trace(format!("the job ended early, with {}", output.status))),
    }
}
