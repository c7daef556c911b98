//! System calls, loads and stores without anything in between: no library that allocates, locks, or keeps the number of
//! an error.

use std::arch::asm;
use std::sync::atomic::AtomicU32;

/// In a register during an access that may fault: whoever faults without it has made a mistake of his own.
const MARK: u64 = 0x6163_6365_7373;

/// An access that may fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access {
    /// What was loaded.
    pub value: u64,
    /// The signal, and its code behind 32 bits; 0 if there was none.
    pub fault: u64,
    /// The signal's address.
    pub address: u64,
}

/// A system call; an error is a negative number.
///
/// # Safety
/// Whatever it does to memory and files that others use is the caller's.
pub unsafe fn call(number: u64, arguments: [u64; 6]) -> u64 {
    let [a, b, c, d, e, f] = arguments;
    let result;
    // SAFETY: the kernel leaves every register alone but these.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// Loads a word, or gets a signal.
pub fn load(address: u64) -> Access {
    let (value, fault, at);
    // SAFETY: a load that faults ends at the label, by `on_fault`. Nothing else lies where programs are sent to load.
    unsafe {
        asm!("xor r8d, r8d", "lea r11, [rip + 2f]", "mov {value}, qword ptr [{address}]", "2:",
             address = in(reg) address, value = inout(reg) 0u64 => value, in("r10") MARK,
             out("r8") fault, out("r9") at, out("r11") _, options(nostack));
    }
    Access { value, fault, address: if fault == 0 { 0 } else { at } }
}

/// Stores a word, or gets a signal.
///
/// # Safety
/// Nothing of the program itself lies there.
pub unsafe fn store(address: u64, value: u64) -> Access {
    let (fault, at);
    // SAFETY: as in `load`.
    unsafe {
        asm!("xor r8d, r8d", "lea r11, [rip + 2f]", "mov qword ptr [{address}], {value}", "2:",
             address = in(reg) address, value = in(reg) value, in("r10") MARK,
             out("r8") fault, out("r9") at, out("r11") _, options(nostack));
    }
    Access { value: 0, fault, address: if fault == 0 { 0 } else { at } }
}

/// Ends the access that faulted, and says in its registers how.
extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: what the kernel gives to a handler.
    let (info, registers) = unsafe { (&*info, &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs) };
    let at = |register: i32| register as usize;
    if registers[at(libc::REG_R10)] as u64 != MARK {
        // SAFETY: ends the process.
        unsafe { call(libc::SYS_exit_group as u64, [99, 0, 0, 0, 0, 0]) };
    }
    registers[at(libc::REG_R8)] = i64::from(signal) | i64::from(info.si_code) << 32;
    // SAFETY: both signals have an address.
    registers[at(libc::REG_R9)] = unsafe { info.si_addr() } as i64;
    registers[at(libc::REG_RIP)] = registers[at(libc::REG_R11)];
}

/// Lets accesses that fault end, in this process and those that it forks.
pub fn catch_faults() {
    // SAFETY: a zeroed structure is one; the handler does what handlers may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_fault as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut mask);
        libc::sigprocmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut());
    }
}

/// Sleeps while `word` is `value`, until somebody wakes those of `mask`; `false` after so many seconds.
pub fn wait(word: &AtomicU32, value: u32, mask: u32, seconds: i64) -> bool {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is written to a structure of this function.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec += seconds;
    let until = &raw const now as u64;
    let operation = libc::FUTEX_WAIT_BITSET as u64;
    // SAFETY: the word and the time live until the call returns.
    let result =
        unsafe { call(libc::SYS_futex as u64, [word.as_ptr() as u64, operation, value.into(), until, 0, mask.into()]) };
    result as i64 != -i64::from(libc::ETIMEDOUT)
}

/// Wakes those of `mask` that wait for `word` to change.
pub fn wake(word: &AtomicU32, mask: u32) {
    let (all, operation) = (i32::MAX as u64, libc::FUTEX_WAKE_BITSET as u64);
    // SAFETY: the word lives.
    unsafe { call(libc::SYS_futex as u64, [word.as_ptr() as u64, operation, all, 0, 0, mask.into()]) };
}
