//! The embedding example as a program that has nothing but a C library's output: no `std`, no `alloc`. If the core
//! needed an allocator, this would not link.

#![no_std]
#![no_main]

#[path = "../../../examples/embed.rs"]
mod embed;

use core::fmt;
use core::panic::PanicInfo;

#[link(name = "c")]
unsafe extern "C" {
    fn write(file: i32, bytes: *const u8, length: usize) -> isize;
    fn abort() -> !;
}

struct File(i32);

impl fmt::Write for File {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the pointer and the length are a string's.
        let written = unsafe { write(self.0, text.as_ptr(), text.len()) };
        if written == text.len() as isize { Ok(()) } else { Err(fmt::Error) }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = fmt::write(&mut File(2), format_args!("{info}\n"));
    // SAFETY: always allowed.
    unsafe { abort() }
}

/// What the C library calls.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    embed::run(&mut File(1)).err().unwrap_or(0)
}
