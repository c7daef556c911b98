//! `vellum bench stacks`: how much stack operations on large memory take.
//!
//! The stack is painted below where the operation begins, and looked through when it is over for where the paint has
//! gone. What a function sets aside and does not write to is not seen, unless what it calls writes beneath; the single
//! steps of [`super::sections`] see that, and take a thousand times as long.

use super::large::{self, Job};
use super::window::{Mode, Window};
use super::{BenchError, print};
use serde::Serialize;
use std::arch::asm;
use std::ptr::with_exposed_provenance;

/// The most stack, in bytes.
pub const DEEPEST: u64 = 8 << 10;

/// How far down it is painted.
const PAINTED: usize = 256 << 10;
/// The stack of a job, its preparations included.
const STACK: usize = 4 << 20;
const PAINT: u64 = 0xa5c3_5a3c_0ff0_a55a;
/// Below the stack pointer, a leaf function may use so much without moving it.
const RED_ZONE: usize = 128;

/// A painted stack.
pub struct Painted {
    /// Where the paint ends: beneath the frames that were there.
    end: usize,
}

impl Painted {
    /// Paints what is free of this thread's stack.
    #[inline(never)]
    pub fn new() -> Self {
        let pointer: usize;
        // SAFETY: below the red zone nothing is in use; the threads that come here have more stack than is painted.
        unsafe {
            asm!(
                "mov {pointer}, rsp",
                "lea rdi, [rsp - {painted}]",
                "rep stosq",
                pointer = out(reg) pointer,
                painted = const PAINTED + RED_ZONE,
                in("rax") PAINT,
                inout("rcx") PAINTED / size_of::<u64>() => _,
                out("rdi") _,
                options(nostack),
            )
        };
        Painted { end: pointer - RED_ZONE }
    }

    /// How far the stack has reached since beyond what was in use, in bytes.
    pub fn depth(&self) -> u64 {
        let words = PAINTED / size_of::<u64>();
        let lowest = self.end - PAINTED;
        // SAFETY: the words are the thread's stack, painted above; volatile, since no object is there.
        let at = |word: &usize| unsafe {
            with_exposed_provenance::<u64>(lowest + word * size_of::<u64>()).read_volatile() != PAINT
        };
        let first = (0..words).find(at).unwrap_or(words);
        ((words - first) * size_of::<u64>() + RED_ZONE) as u64
    }
}

/// What was seen of an operation.
#[derive(Serialize)]
pub struct Stack {
    /// Its name.
    pub name: &'static str,
    /// Bytes of stack.
    pub stack: u64,
}

/// Measures a job, on a thread of its own.
fn measure(name: &'static str, job: Job) -> Stack {
    let measured = move || {
        let mut window = Window::new(Mode::Stack);
        job(&mut window);
        window.sums.stack
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(measured).expect("the host has memory");
    Stack { name, stack: thread.join().expect("jobs do not panic") }
}

/// Measures the jobs called `names`, or all, and prints a table, or a document.
pub fn run(names: &[String], json: bool) -> Result<(), BenchError> {
    let chosen = large::chosen(names)?;
    if !json {
        print(&format!("bytes of stack, {DEEPEST} at most; {} pages each\n", large::PAGES));
    }
    let mut seen_of_all = Vec::new();
    for name in chosen {
        let Some(job) = large::find(name) else { continue };
        let seen = measure(name, job);
        if !json {
            let over = if seen.stack > DEEPEST { "!" } else { " " };
            print(&format!("{name:<26}{:>8}{over}\n", seen.stack));
        }
        seen_of_all.push(seen);
    }
    if json {
        print(&super::report::document(&seen_of_all));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    /// Writes to so many bytes of stack.
    #[inline(never)]
    fn reach<const BYTES: usize>() {
        black_box(&mut [1u8; BYTES]);
    }

    fn depth(of: impl FnOnce() + Send) -> u64 {
        let measured = || {
            let painted = Painted::new();
            of();
            painted.depth()
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, measured);
            thread.expect("the host has memory").join().expect("no panic")
        })
    }

    #[test]
    fn depths_are_measured() {
        let nothing = depth(|| ());
        assert!(nothing < 1 << 10, "{nothing}");
        for (bytes, depth) in [(2_000, depth(reach::<2_000>)), (20_000, depth(reach::<20_000>))] {
            assert!((bytes..bytes + (2 << 10)).contains(&depth), "{depth} instead of {bytes}");
        }
        let deepest = depth(|| (reach::<20_000>(), reach::<100>()).1);
        assert!((20_000..22 << 10).contains(&deepest), "{deepest}: what comes later does not hide it");
    }
}
