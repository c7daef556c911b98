//! Where the mappings of a sequence lie, on both sides alike.
//!
//! Everything outside the arena is mapped without rights, on both sides, so that nothing can be chosen for a mapping
//! but a place inside: Linux then chooses the highest that fits, wherever it has put its own things, and a sequence
//! means the same each time it runs.

/// log2 of the bytes of a page.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes of a page.
pub const PAGE: u64 = 1 << PAGE_SHIFT;
/// First address. Far from wherever a program, its libraries or its stacks are put.
pub const START: u64 = 1 << 44;
/// Pages of it.
pub const PAGES: u64 = 16384;
/// End.
pub const END: u64 = START + PAGES * PAGE;

/// Where most mappings are made, as numbers of pages from the arena's start: on both sides of a border of page tables.
pub const POOL: std::ops::Range<u64> = 500..524;
/// Where the heap begins.
pub const HEAP: u64 = 2048;
/// Around this page stacks are mapped, with nothing below for a long way.
pub const STACK: u64 = 4096;
/// Where large mappings are made, of so many pages that huge ones fit.
pub const LARGE: std::ops::Range<u64> = 8192..8192 + 4 * HUGE;
/// Pages of a huge one.
pub const HUGE: u64 = 512;
/// How far a stack may grow, in bytes.
pub const STACK_LIMIT: u64 = 256 * PAGE;

/// The address of a page of the arena.
pub const fn page(number: u64) -> u64 {
    START + number * PAGE
}

/// The address behind which no program has anything, on any x86-64, and no call looks.
const NOBODYS: u64 = 1 << 57;
/// Below this address no process maps anything, whatever `vm.mmap_min_addr` says.
const LOWEST: u64 = PAGE;

/// Whether a call about this range can do nothing outside of the arena: the range lies within, or no call gets past the
/// checks of its arguments with it.
pub fn is_harmless(start: u64, length: u64) -> bool {
    let Some(end) = start.checked_add(length).and_then(|end| end.checked_next_multiple_of(PAGE)) else { return true };
    (START <= start && end <= END) || end <= LOWEST || end > NOBODYS || length == 0
}

/// `address` as it is printed: relative to the arena's start, if it lies there.
pub fn name(address: u64) -> String {
    if (START..=END).contains(&address) { format!("A+{:#x}", address - START) } else { format!("{address:#x}") }
}
