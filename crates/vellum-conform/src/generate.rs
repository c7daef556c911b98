//! Random sequences from a seed.

use crate::abi::*;
use crate::arena::{self, HEAP, HUGE, LARGE, PAGE, PAGES, POOL, STACK};
use crate::files::{Ends, FILES, LENGTH_MAX};
use crate::op::{Call, Op};
use fastrand::Rng;

/// What a sequence is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Whether Vellum's memory is short, moved and given up between operations.
    pub has_pressure: bool,
    /// Whether there is a heap.
    pub has_heap: bool,
    /// Whether files can have holes.
    pub has_holes: bool,
    /// Whether mappings can have guards.
    pub has_guards: bool,
    /// Whether memory can be advised to have huge pages.
    pub has_huge_pages: bool,
    /// Whether there are mappings so large that huge pages fit.
    pub is_large: bool,
    /// Where files may end.
    pub ends: Ends,
}

/// Makes the operations of one sequence. Most name what was mapped before, so that they meet.
struct Generator {
    random: Rng,
    recipe: Recipe,
    /// Ranges that were mapped, latest last: first page and pages.
    mapped: Vec<(u64, u64)>,
    stores: u64,
    /// Pages of large ranges that are faulted in at once: not more than Vellum has.
    populated: u64,
    /// Of the pool, so many pages are used: with few of them everything meets.
    pool: u64,
    /// By kind of call, whether the sequence has it: with few kinds there is more of each.
    has: [bool; Call::KINDS.len()],
}

/// The sequence of a seed.
pub fn sequence(seed: u64, recipe: Recipe) -> Vec<Op> {
    let mut generator = Generator::new(Rng::with_seed(seed), recipe);
    // One in 32 is long, for states that take many operations to build.
    let count = if !recipe.is_large && generator.percent(3) { 250 } else { 15 + generator.below(46) };
    (0..count).map(|number| generator.op(number < 3)).collect()
}

/// Lengths that are wrong, or larger than anything.
const LENGTHS: [u64; 9] = [0, 0, 0, 1 << 30, 1 << 47, 1 << 57, 1 << 63, u64::MAX, u64::MAX - 0xfff];
/// Addresses where nothing can be mapped.
const ADDRESSES: [u64; 6] = [0, 0x800, 1 << 57, 0xffff_8000_0000_0000, u64::MAX, u64::MAX - 0xfff];

/// A flag of `mmap` that Linux does not know.
const UNKNOWN: u64 = 1 << 21;

/// Most pages of large ranges that a sequence faults in at once.
const POPULATED_MAX: u64 = 2 * HUGE;
/// Places in a huge page, and lengths about as large as one.
const LARGE_PAGES: u64 = LARGE.end - LARGE.start;
const PLACES: [u64; 8] = [0, 0, 0, 1, 7, HUGE / 2, HUGE - 2, HUGE - 1];
const LARGE_LENGTHS: [u64; 9] = [HUGE, HUGE, HUGE, 2 * HUGE, 3 * HUGE, HUGE - 1, HUGE + 1, HUGE / 2, 2 * HUGE + 100];

const ADVICE: [u64; 38] = [
    MADV_HUGEPAGE,
    MADV_HUGEPAGE,
    MADV_NOHUGEPAGE,
    MADV_NOHUGEPAGE,
    MADV_GUARD_INSTALL,
    MADV_GUARD_INSTALL,
    MADV_GUARD_INSTALL,
    MADV_GUARD_INSTALL,
    MADV_GUARD_REMOVE,
    MADV_GUARD_REMOVE,
    MADV_DONTNEED,
    MADV_DONTNEED,
    MADV_DONTNEED,
    MADV_DONTNEED,
    MADV_WIPEONFORK,
    MADV_WIPEONFORK,
    MADV_KEEPONFORK,
    MADV_DONTFORK,
    MADV_DONTFORK,
    MADV_DOFORK,
    MADV_POPULATE_READ,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MADV_POPULATE_WRITE,
    MADV_WILLNEED,
    MADV_NORMAL,
    MADV_SEQUENTIAL,
    MADV_RANDOM,
    MADV_COLD,
    MADV_PAGEOUT,
    MADV_PAGEOUT,
    MADV_FREE,
    MADV_REMOVE,
    MADV_REMOVE,
    MADV_DONTDUMP,
    MADV_DODUMP,
    7,
    u32::MAX as u64,
];

impl Generator {
    fn new(mut random: Rng, recipe: Recipe) -> Generator {
        let pool = [6, 12, 24, 24][random.usize(..4)];
        let mut has = [true; Call::KINDS.len()];
        if random.bool() {
            // Mappings, loads and stores every sequence has.
            (1..=9).for_each(|kind| has[kind] = random.u32(..100) < 65);
        }
        Generator { random, recipe, mapped: Vec::new(), stores: 0, populated: 0, pool, has }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.u64(..end)
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }

    fn op(&mut self, is_first: bool) -> Op {
        let process = if self.percent(60) { 0 } else { self.below(4) as u8 };
        let pressure = self.recipe.has_pressure && self.percent(40);
        let pressure = if pressure { self.random.u32(1..) } else { 0 };
        loop {
            let call = if is_first { self.map() } else { self.call() };
            if call.is_harmless() && self.has[call.kind()] {
                return Op { process, call, pressure };
            }
        }
    }

    fn call(&mut self) -> Call {
        // Where nothing is yet, a store brings a huge page, and a load none.
        if self.large(12) {
            return Call::Store { address: self.word(), value: self.value() };
        }
        match self.below(1000) {
            0..190 => self.map(),
            190..240 => self.on_range(|address, length, this| this.unmap(address, length)),
            240..320 => self.on_range(|address, length, this| Call::Protect { address, length, prot: this.prot(true) }),
            320..420 => self.remap(),
            420..520 => {
                self.on_range(|address, length, this| Call::Advise { address, length, advice: this.advice(length) })
            }
            520..550 if self.recipe.has_heap => self.brk(),
            550..570 => self.on_range(|address, length, _| {
                let is_large = (64 * PAGE..=LARGE_PAGES * PAGE).contains(&length);
                Call::Residency { address, length: if is_large { 64 * PAGE } else { length } }
            }),
            570..610 => self.truncate(),
            610..655 => Call::Fork,
            655..665 => Call::Exit,
            665..673 => self.on_range(|address, length, this| Call::Sync { address, length, flags: this.sync() }),
            673..820 => Call::Store { address: self.word(), value: self.value() },
            820..850 => Call::Read { address: self.word(), value: self.value() },
            850..885 => Call::Write { address: self.word() },
            _ => Call::Load { address: self.word() },
        }
    }

    /// Any page of interest.
    fn page(&mut self) -> u64 {
        if self.large(50) {
            return LARGE.start + self.below(LARGE_PAGES / HUGE) * HUGE + self.pick(&PLACES);
        }
        match self.below(100) {
            0..68 => (POOL.start + POOL.end) / 2 - self.pool / 2 + self.below(self.pool),
            68..78 => PAGES - 1 - self.below(12),
            78..85 if self.recipe.has_heap => HEAP + self.below(12),
            _ => STACK - 8 + self.below(16),
        }
    }

    /// Whether, of so many in a hundred cases, something is large; it never is where nothing is.
    fn large(&mut self, percent: u64) -> bool {
        self.recipe.is_large && self.percent(percent)
    }

    /// What was mapped, mostly of late; something was.
    fn mapping(&mut self) -> (u64, u64) {
        let count = self.mapped.len() as u64;
        let back = if self.percent(60) { self.below(count.min(3)) } else { self.below(count) };
        self.mapped[(count - 1 - back) as usize]
    }

    /// A page of what was mapped, mostly of late.
    fn mapped_page(&mut self) -> u64 {
        if self.mapped.is_empty() || self.percent(12) {
            return self.page();
        }
        let (first, pages) = self.mapping();
        match pages > 64 && self.percent(60) {
            true => first + (self.below(pages) / HUGE * HUGE + self.pick(&PLACES)).min(pages - 1),
            false if self.percent(40) => first,
            false => first + self.below(pages.clamp(1, 16)),
        }
    }

    fn address(&mut self, page: u64) -> u64 {
        match self.below(100) {
            0 => self.pick(&ADDRESSES),
            1 => arena::page(page) + 1 + self.below(PAGE - 1),
            _ => arena::page(page),
        }
    }

    fn pages(&mut self) -> u64 {
        if self.large(15) {
            return self.pick(&LARGE_LENGTHS);
        }
        if self.percent(92) { 1 + self.below(5) } else { self.pick(&[8, 12, 16, 24, 60]) }
    }

    fn length(&mut self) -> u64 {
        match self.below(100) {
            0..2 => self.pick(&LENGTHS),
            2..7 => self.pages() * PAGE - self.below(PAGE),
            _ => self.pages() * PAGE,
        }
    }

    /// A range of what was mapped of late, or a part of it; else any range.
    fn range(&mut self) -> (u64, u64) {
        if self.mapped.is_empty() || self.percent(35) {
            let page = self.mapped_page();
            return (self.address(page), self.length());
        }
        let (first, pages) = self.mapping();
        let skipped = match self.below(100) {
            0..55 => 0,
            _ if pages > HUGE && self.percent(40) => HUGE,
            _ => self.below(pages.min(8)),
        };
        let rest = pages - skipped;
        let pages = match self.below(100) {
            0..45 => rest,
            _ if rest > HUGE && self.percent(60) => self.pick(&[1, 3, HUGE - 1, HUGE]),
            _ => 1 + self.below(rest),
        };
        (self.address(first + skipped), pages * PAGE)
    }

    fn on_range(&mut self, make: impl FnOnce(u64, u64, &mut Self) -> Call) -> Call {
        let (address, length) = self.range();
        make(address, length, self)
    }

    fn prot(&mut self, may_be_wrong: bool) -> u64 {
        match self.below(100) {
            0..62 => PROT_READ | PROT_WRITE,
            62..76 => PROT_READ,
            76..84 => 0,
            84..88 => PROT_WRITE,
            88..91 => PROT_EXEC,
            91..94 => PROT_READ | PROT_EXEC,
            94..97 => 7,
            97 if may_be_wrong => self.pick(&[8, 0x10, 0x20, PROT_READ | 1 << 31, PROT_GROWSUP | PROT_GROWSDOWN]),
            98 if may_be_wrong => PROT_READ | self.pick(&[PROT_GROWSDOWN, PROT_GROWSDOWN, PROT_GROWSUP]),
            _ => PROT_READ | PROT_WRITE,
        }
    }

    fn map(&mut self) -> Call {
        if self.large(60) {
            return self.large_map();
        }
        let mut flags = match self.below(100) {
            0..70 => MAP_PRIVATE,
            70..97 => MAP_SHARED,
            97..99 => MAP_SHARED_VALIDATE,
            99 => 0,
            _ => MAP_SHARED,
        };
        let page = if self.percent(30) { self.mapped_page() } else { self.page() };
        let mut address = self.address(page);
        match self.below(100) {
            0..62 => flags |= MAP_FIXED,
            62..72 => flags |= MAP_FIXED_NOREPLACE,
            72..84 => {}
            _ => address = 0,
        }
        let (mut file, mut offset) = (-1, 0);
        if self.percent(52) {
            flags |= MAP_ANONYMOUS;
            let is_stack = page.abs_diff(STACK) <= 8;
            if self.percent(if is_stack { 60 } else { 10 }) {
                flags |= MAP_GROWSDOWN;
            }
        } else {
            (file, offset) = self.file();
            if self.percent(1) {
                flags |= MAP_GROWSDOWN;
            }
        }
        let populates = self.percent(10);
        flags |= if self.percent(6) { MAP_NORESERVE } else { 0 };
        flags |= if self.percent(4) { self.pick(&[MAP_STACK, MAP_NONBLOCK, MAP_LOCKED, UNKNOWN]) } else { 0 };
        let (length, prot) = (self.length(), self.prot(false));
        flags |= if populates && (!self.recipe.is_large || self.may_populate(length)) { MAP_POPULATE } else { 0 };
        self.note_mapping(address, length, flags);
        Call::Map { address, length, prot, flags, file, offset }
    }

    /// A mapping where huge pages fit.
    fn large_map(&mut self) -> Call {
        let first = LARGE.start + self.below(LARGE_PAGES / HUGE) * HUGE + self.pick(&[0, 0, 0, 0, 1, HUGE - 4]);
        let length = self.pick(&LARGE_LENGTHS).min(LARGE.end - first) * PAGE;
        let sharing = if self.percent(25) { MAP_SHARED } else { MAP_PRIVATE };
        let mut flags = sharing | MAP_ANONYMOUS | MAP_FIXED;
        flags |= if self.percent(10) && self.may_populate(length) { MAP_POPULATE } else { 0 };
        flags |= if self.percent(5) { self.pick(&[MAP_STACK, MAP_NORESERVE, MAP_GROWSDOWN]) } else { 0 };
        let prot = if self.percent(70) { PROT_READ | PROT_WRITE } else { self.prot(false) };
        let address = arena::page(first);
        self.note_mapping(address, length, flags);
        Call::Map { address, length, prot, flags, file: -1, offset: 0 }
    }

    /// Whether a range may be faulted in at once; if so it is.
    fn may_populate(&mut self, length: u64) -> bool {
        let pages = length / PAGE;
        let has_room = pages <= 64 || pages <= LARGE_PAGES && self.populated + pages <= POPULATED_MAX;
        self.populated += if has_room && pages > 64 { pages } else { 0 };
        has_room
    }

    /// A file, and where in it.
    fn file(&mut self) -> (i32, u64) {
        let file = match self.below(100) {
            0..35 => 0,
            35..65 => 1,
            65..86 => 2,
            86..95 => 3,
            95..97 => 4,
            _ => self.pick(&[-1, 9]),
        };
        let offset = match self.below(100) {
            0..55 => 0,
            55..96 => self.below(7) * PAGE,
            96 => 1 + self.below(PAGE - 1),
            _ => self.pick(&[u64::MAX - 0xfff, 1 << 63, 1 << 62, (1 << 63) - PAGE, 1 << 44]),
        };
        (file, offset)
    }

    fn unmap(&mut self, address: u64, length: u64) -> Call {
        let first = address.wrapping_sub(arena::START) / PAGE;
        self.mapped.retain(|mapped| mapped.0 < first || mapped.0 + mapped.1 > first + length / PAGE);
        Call::Unmap { address, length }
    }

    fn note_mapping(&mut self, address: u64, length: u64, flags: u64) {
        let pages = length.div_ceil(PAGE).clamp(1, if self.recipe.is_large { LARGE_PAGES } else { 64 });
        let is_fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0;
        let first = match address.checked_sub(arena::START) {
            Some(offset) if offset / PAGE < PAGES && (is_fixed || self.percent(50)) => offset / PAGE,
            // The highest place that is free.
            _ => PAGES - pages,
        };
        self.mapped.push((first, pages));
    }

    fn remap(&mut self) -> Call {
        let (address, length) = self.range();
        let length = if self.percent(6) { 0 } else { length };
        let new_length = if self.percent(45) { length } else { self.length() };
        let flags = match self.below(100) {
            0..20 => 0,
            20..50 => MREMAP_MAYMOVE,
            50..85 => MREMAP_MAYMOVE | MREMAP_FIXED,
            85..90 => MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
            90..95 => MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
            95..97 => MREMAP_FIXED,
            97 => MREMAP_DONTUNMAP,
            _ => self.pick(&[8, 9, 6, 1 << 32]),
        };
        let to = if self.percent(25) { self.mapped_page() } else { self.page() };
        let new_address = if flags & MREMAP_FIXED != 0 { self.address(to) } else { 0 };
        if flags & MREMAP_FIXED != 0 {
            self.note_mapping(new_address, new_length, MAP_FIXED);
        }
        Call::Remap { address, length, new_length, flags, new_address }
    }

    fn advice(&mut self, length: u64) -> u64 {
        let advice = if self.large(20) { MADV_HUGEPAGE } else { self.pick(&ADVICE) };
        // What was given up is there still, or is not, as it happens to be needed.
        match advice {
            MADV_HUGEPAGE | MADV_NOHUGEPAGE if !self.recipe.has_huge_pages => MADV_NORMAL,
            MADV_POPULATE_READ | MADV_POPULATE_WRITE if self.recipe.is_large && !self.may_populate(length) => {
                MADV_NORMAL
            }
            MADV_FREE if self.recipe.has_pressure => MADV_DONTNEED,
            MADV_REMOVE if !self.recipe.has_holes => MADV_DONTNEED,
            MADV_GUARD_INSTALL | MADV_GUARD_REMOVE if !self.recipe.has_guards => MADV_DONTNEED,
            // What is stored behind the end of a file would be lost.
            MADV_PAGEOUT if self.recipe.ends == Ends::Anywhere => MADV_COLD,
            _ => advice,
        }
    }

    fn sync(&mut self) -> u64 {
        let flags =
            self.pick(&[0, MS_ASYNC, MS_ASYNC, MS_SYNC, MS_INVALIDATE, MS_SYNC | MS_INVALIDATE, MS_SYNC | MS_ASYNC, 8]);
        // What is stored behind the end of a file would be cleared in Linux alone.
        if self.recipe.ends == Ends::Anywhere { flags & !MS_SYNC } else { flags }
    }

    fn brk(&mut self) -> Call {
        let end = match self.below(100) {
            0..5 => 0,
            5..8 => self.pick(&ADDRESSES),
            8..20 => arena::page(HEAP) + self.below(12 * PAGE),
            20..22 => arena::page(HEAP) - self.below(2 * PAGE),
            _ => arena::page(HEAP + self.below(12)),
        };
        Call::Brk { end }
    }

    fn truncate(&mut self) -> Call {
        let file = if self.percent(3) { self.pick(&[3, 4, -1]) } else { self.pick(&[0, 1, 1, 2, 2]) };
        let length = match self.below(100) {
            0..2 => self.pick(&[u64::MAX, 1 << 63]),
            2..45 => self.below(LENGTH_MAX / PAGE + 1) * PAGE,
            // Within the last page, and not far from where it ended first.
            45..75 => FILES.get(file as usize).map_or(PAGE, |file| file.length) - PAGE + self.below(2 * PAGE),
            _ => self.below(LENGTH_MAX),
        };
        let length = if self.recipe.ends == Ends::WithPage || file == 0 { length & !(PAGE - 1) } else { length };
        Call::Truncate { file, length }
    }

    /// Where a word is loaded or stored.
    fn word(&mut self) -> u64 {
        let page = match self.below(100) {
            0..6 => STACK - self.pick(&[1, 2, 9, 100, 240, 255, 256, 257, 300]),
            6..11 => self.page().saturating_sub(1 + self.below(3)),
            _ => self.mapped_page(),
        };
        match self.below(100) {
            0 => self.pick(&[0, 0x800, 0xffff_8000_0000_0000, u64::MAX - 7]),
            1..50 => arena::page(page) + self.below(PAGE / 8) * 8,
            50..60 => arena::page(page) + PAGE - 8,
            60..70 => arena::page(page) + 0x230,
            _ => arena::page(page),
        }
    }

    /// A value that no other store has.
    fn value(&mut self) -> u64 {
        self.stores += 1;
        self.stores << 32 | 0xa5a5
    }
}

/// A recipe of everything, for tests.
#[cfg(test)]
pub(crate) const RECIPE: Recipe = Recipe {
    has_pressure: true,
    has_heap: true,
    has_holes: true,
    has_guards: true,
    has_huge_pages: true,
    is_large: false,
    ends: Ends::Anywhere,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_sequences_have_mappings_where_huge_pages_fit() {
        let sequences = (0..50).map(|seed| sequence(seed, Recipe { is_large: true, ..RECIPE }));
        let fits = |call: &Call| match *call {
            Call::Map { address, length, flags, .. } => {
                let first = address.checked_next_multiple_of(HUGE * PAGE);
                let fits = |first: u64| address.saturating_add(length) >= first.saturating_add(HUGE * PAGE);
                flags & MAP_PRIVATE != 0 && first.is_some_and(fits)
            }
            _ => false,
        };
        let with_one = sequences.filter(|ops| ops.iter().any(|op| fits(&op.call))).count();
        assert!(with_one > 40, "{with_one}");
    }

    #[test]
    fn every_kind_of_call_is_made_and_none_does_harm() {
        let mut kinds = [0; Call::KINDS.len()];
        for seed in 0..200 {
            let ends = Ends::Anywhere;
            let recipe = Recipe { has_pressure: seed % 2 == 0, is_large: seed % 3 == 0, ends, ..RECIPE };
            for op in sequence(seed, recipe) {
                assert!(op.call.is_harmless(), "{}", op.call);
                kinds[op.call.kind()] += 1;
            }
        }
        assert!(kinds.iter().all(|count| *count > 20), "{kinds:?}");
    }

    #[test]
    fn what_would_reach_beyond_the_arena_is_not_made() {
        let address = arena::page(PAGES - 1);
        assert!(Call::Unmap { address, length: PAGE }.is_harmless());
        assert!(!Call::Unmap { address, length: 2 * PAGE }.is_harmless());
        assert!(Call::Unmap { address, length: 1 << 57 }.is_harmless());
        let advice = MADV_DONTNEED;
        assert!(!Call::Advise { address, length: 1 << 57, advice }.is_harmless());
        assert!(Call::Advise { address, length: u64::MAX, advice }.is_harmless());
        assert!(!Call::Load { address: 1 << 40 }.is_harmless());
        let fixed = |address| Call::Map { address, length: PAGE, prot: 3, flags: MAP_FIXED, file: -1, offset: 0 };
        assert!(!fixed(arena::END).is_harmless() && fixed(address).is_harmless());
    }
}
