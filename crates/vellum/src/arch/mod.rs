//! The processor: formats of entries, shape of the tables, and its semantics as data.
//!
//! Levels count from the bottom: level 0 holds the entries of pages, level `LEVELS - 1` is the root.
//! A *slot* is one entry of a table; a slot of level 0 spans one page.

mod aarch64;
mod absent;
mod ppc64;
mod riscv64;
mod sparc64;
mod tiny;
mod word;
mod x86_64;

pub use aarch64::Aarch64;
pub use absent::{Absent, SwapSlot};
pub use ppc64::Ppc64;
pub use riscv64::{Riscv64, Riscv64Sv48};
pub use sparc64::Sparc64;
pub use tiny::{Tiny, TinyAssist, TinyBlind, TinyBroadcast};
pub(crate) use word::Word;
pub use x86_64::{X86_64, X86_64La57};

use crate::pfn::Pfn;
use bits::flags;

mod bits {
    /// Declares a small set-of-flags type; keeps the core free of dependencies.
    macro_rules! flags {
        ($(#[$meta:meta])* $name:ident: $repr:ty { $($(#[$doc:meta])* $flag:ident = $value:expr;)* }) => {
            $(#[$meta])*
            #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
            pub struct $name(pub(crate) $repr);
            impl $name {
                /// No flag.
                pub const NONE: $name = $name(0);
                $($(#[$doc])* pub const $flag: $name = $name($value);)*
                /// Whether every flag of `other` is set.
                #[inline(always)]
                pub const fn has(self, other: $name) -> bool { self.0 & other.0 == other.0 }
                /// Whether any flag of `other` is set.
                #[inline(always)]
                #[allow(dead_code, reason = "some sets are never asked")]
                pub const fn has_any(self, other: $name) -> bool { self.0 & other.0 != 0 }
                /// The flags of both.
                #[inline(always)]
                pub const fn with(self, other: $name) -> $name { $name(self.0 | other.0) }
                /// These flags less those of `other`.
                #[inline(always)]
                pub const fn without(self, other: $name) -> $name { $name(self.0 & !other.0) }
                /// The raw bits.
                #[allow(dead_code, reason = "some sets are never asked")]
                pub const fn raw(self) -> $repr { self.0 }
            }
            impl core::ops::BitOr for $name {
                type Output = $name;
                fn bitor(self, other: $name) -> $name { self.with(other) }
            }
            impl core::fmt::Debug for $name {
                fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                    let mut first = true;
                    $(if $name::$flag.0 != 0 && self.has($name::$flag) {
                        if !first { f.write_str("|")?; }
                        first = false;
                        f.write_str(stringify!($flag))?;
                    })*
                    if first { f.write_str("-")?; }
                    Ok(())
                }
            }
        };
    }
    pub(crate) use flags;
}
pub(crate) use bits::flags as flag_set;

flags! {
    /// Access rights of a mapping.
    Prot: u8 {
        /// Loads are allowed.
        READ = 1;
        /// Stores are allowed; on every architecture here this implies loads.
        WRITE = 2;
        /// Instruction fetches are allowed.
        EXECUTE = 4;
    }
}

impl Prot {
    /// Loads and stores.
    pub const READ_WRITE: Prot = Prot(3);
}

flags! {
    /// What a page entry says beside its frame, in terms common to all architectures. (The values are those of x86-64's
    /// bits where it has them, which makes its conversions cheap; nothing else depends on that.)
    PageBits: u16 {
        /// Loads are allowed.
        READ = 1;
        /// Stores are allowed.
        WRITE = 2;
        /// Instruction fetches are allowed.
        EXECUTE = 4;
        /// The page was accessed.
        ACCESSED = 0x20;
        /// The page was stored to through this entry.
        DIRTY = 0x40;
        /// Software: the anonymous page belongs to this entry alone, so a write fault may reuse it.
        EXCLUSIVE = 0x200;
        /// Software: the frame is not counted as mapped (the zero page).
        SPECIAL = 0x400;
        /// Accesses are checked against the page's memory tags. Lost where the architecture has none.
        TAGGED = 0x800;
    }
}

impl PageBits {
    /// The access rights among the bits.
    #[inline(always)]
    pub const fn prot(self) -> Prot {
        Prot((self.0 & 7) as u8)
    }

    /// The bits which grant `prot`.
    #[inline(always)]
    pub const fn of(prot: Prot) -> PageBits {
        PageBits(prot.0 as u16)
    }
}

/// A table entry in terms common to all architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing: what the slot shows is said by its attribute class.
    Empty,
    /// A lower table (levels above 0 only).
    Table(Pfn),
    /// A page; at a level above 0 a huge one, which has all the memory that the slot spans. Without any of READ, WRITE,
    /// EXECUTE the hardware sees it as not present (`PROT_NONE`).
    Page(Pfn, PageBits),
    /// No page, to the hardware; the software knows more.
    Absent(Absent),
}

/// How translations of removed entries are invalidated on other CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shootdown {
    /// By interrupting each CPU that may hold them; per-CPU address-space identifiers with generations.
    Interrupt,
    /// By a broadcast instruction; global address-space identifiers with rollover.
    Broadcast,
}

/// Whether `A` flushes by broadcast.
pub(crate) const fn is_broadcast<A: Arch>() -> bool {
    matches!(A::SEMANTICS.shootdown, Shootdown::Broadcast)
}

/// Number of address-space identifiers that all CPUs share, where flushes are broadcasts. The hardware's name of the
/// first is 1: 0 is left to the embedder's kernel. Names have 16 bits.
pub(crate) fn identifiers<A: Arch>() -> usize {
    A::ASIDS.min(u16::MAX as usize)
}

/// Memory tags: each granule of memory has one, and an access through a tagged mapping traps unless the address it uses
/// bears the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagFormat {
    /// log2 of the bytes that share a tag.
    pub granule_shift: u32,
    /// Bits of a tag: at most 8.
    pub bits: u32,
}

impl TagFormat {
    /// Bytes that the tags of a page take where they are stored, packed.
    pub const fn bytes(self, page_shift: u32) -> usize {
        (self.bits as usize) << (page_shift - self.granule_shift) >> 3
    }
}

/// What the processor promises and requires, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Semantics {
    /// How other CPUs' translations are invalidated. With [`Shootdown::Interrupt`] a flush also serialises walkers
    /// that have interrupts off.
    pub shootdown: Shootdown,
    /// A store through a cached clean entry walks the tables again, and faults if the entry is gone.
    pub clean_store_rewalks: bool,
    /// Hardware sets the accessed bit; otherwise an access through an entry without it faults.
    pub hardware_accessed: bool,
    /// Hardware sets the dirty bit; otherwise a store through a clean writable entry faults.
    pub hardware_dirty: bool,
    /// Changing a valid entry's frame or size needs an invalid entry and a flush in between.
    pub break_before_make: bool,
    /// Entries of two sizes for one address in a TLB are an error.
    pub mixed_sizes_fault: bool,
    /// A write to a page may be denied by an upper-level entry.
    pub upper_write_protect: bool,
    /// A page that can be executed can be read.
    pub execute_implies_read: bool,
    /// An access that a cached translation does not allow drops it: none is left when the fault handler returns.
    pub fault_drops_entry: bool,
    /// The memory tags, if the processor has any.
    pub tags: Option<TagFormat>,
    /// The processor does not walk the tables: a miss traps to software, which does. So nothing is filled speculatively
    /// and no upper entries are cached.
    pub software_tlb: bool,
}

/// A processor's paging formats. All functions are pure.
pub trait Arch: Copy + Send + Sync + 'static {
    /// The name the command uses.
    const NAME: &'static str;
    /// log2 of the page size in bytes.
    const PAGE_SHIFT: u32;
    /// Number of table levels, 2 to [`LEVELS_MAX`].
    const LEVELS: usize;
    /// First address user mappings may have (Linux's `mmap_min_addr`); page-aligned.
    const USER_START: u64;
    /// End of the user range, exclusive; page-aligned.
    const USER_END: u64;
    /// End of where room is sought for those who give no address, or one below: programs may rely on the upper bits of
    /// theirs. At most [`Arch::USER_END`].
    const SEARCH_END: u64 = Self::USER_END;
    /// Address-space identifiers the core uses: per CPU where flushes are interrupts (1 means that each switch
    /// flushes), for all CPUs together where they are broadcasts (more than there are CPUs).
    const ASIDS: usize;
    /// The processor's semantics.
    const SEMANTICS: Semantics;

    /// The semantics that hold now, and what the core asks: [`Arch::SEMANTICS`], a constant. A toy that a laboratory
    /// defines may differ from execution to execution, in everything but the [`Shootdown`].
    #[inline(always)]
    fn semantics() -> Semantics {
        Self::SEMANTICS
    }

    /// log2 of the number of entries of a table of `level`.
    fn index_bits(level: usize) -> u32;

    /// log2 of the bytes one slot of `level` spans.
    fn shift(level: usize) -> u32;

    /// The entry of a page at level 0.
    fn page(pfn: Pfn, bits: PageBits) -> u64;

    /// The entry which names a lower table.
    fn table(pfn: Pfn) -> u64;

    /// What `word` says at `level`. The word 0 is [`Entry::Empty`] on every architecture.
    #[inline(always)]
    fn decode(word: u64, level: usize) -> Entry {
        if level == 0 && Self::is_page(word) {
            return Entry::Page(Self::pfn(word), Self::page_bits(word));
        }
        if level > 0
            && let Some(table) = Self::table_of(word)
        {
            return Entry::Table(table);
        }
        if level > Self::HUGE_LEVEL {
            return Entry::Empty;
        }
        if level > 0 && Self::is_huge(word) {
            let small = Self::small(word);
            return Entry::Page(Self::pfn(small), Self::page_bits(small));
        }
        Self::absent_of(word).map_or(Entry::Empty, Entry::Absent)
    }

    /// Whether a level 0 word is a page: neither empty nor [`Entry::Absent`].
    fn is_page(word: u64) -> bool;

    /// The highest level at which an entry may be a page: a *huge* one, whose first frame is aligned to its size. Those
    /// below may have huge pages too, down to 1.
    const HUGE_LEVEL: usize;

    /// The word of a huge page at `level`, 1 to [`Arch::HUGE_LEVEL`], which says of it what the level 0 word `small`,
    /// known to be a page, says of one.
    fn huge(small: u64, level: usize) -> u64;

    /// The level 0 word which says of a page what `huge`, known to be a huge page, says of that: whatever else is asked
    /// of the word of a huge page, or done with it, is asked of this one.
    fn small(huge: u64) -> u64;

    /// Whether a word of a level above 0 is a huge page: neither a lower table, nor empty, nor [`Entry::Absent`].
    fn is_huge(word: u64) -> bool;

    /// How far [`Absent::raw`] is shifted in a word, so that neither the processor nor [`Arch::is_page`] takes it for a
    /// page, nor [`Arch::is_huge`].
    const ABSENT_SHIFT: u32;

    /// The word which says `absent`, at level 0 of a page, at a level above of a huge one.
    #[inline(always)]
    fn absent(absent: Absent) -> u64 {
        absent.raw() << Self::ABSENT_SHIFT
    }

    /// What a word says that is no page, and no lower table; `None` for the empty one.
    #[inline(always)]
    fn absent_of(word: u64) -> Option<Absent> {
        Absent::from_raw(word >> Self::ABSENT_SHIFT)
    }

    /// What a level 0 word that is no page says to the child of a fork, and to its parent from then on: less
    /// exclusiveness.
    #[inline(always)]
    fn shared_absent(word: u64) -> u64 {
        word & !(Absent::EXCLUSIVE << Self::ABSENT_SHIFT)
    }

    /// The lower table a non-leaf entry names, if it does; the quick form of [`Arch::decode`] for descents.
    fn table_of(word: u64) -> Option<Pfn>;

    /// The frame of a level 0 word known to be a page.
    fn pfn(word: u64) -> Pfn;

    /// The frame of a level 0 word that is a page of the usual kind: less is asked than by [`Arch::is_page`] and
    /// [`Arch::pfn`] where there is another kind, of which this says nothing.
    #[inline(always)]
    fn usual_page(word: u64) -> Option<Pfn> {
        if Self::is_page(word) { Some(Self::pfn(word)) } else { None }
    }

    /// The bits of a level 0 word known to be a page.
    fn page_bits(word: u64) -> PageBits;

    /// A level 0 word known to be a page, without WRITE and EXCLUSIVE: what fork leaves on both sides.
    fn shared_copy(word: u64) -> u64;

    /// The bits of a level 0 word which say the access rights: words of pages that differ in nothing but READ, WRITE
    /// and EXECUTE differ in nothing but these, except where one has no right at all; see [`Arch::with_rights`].
    const RIGHTS: u64;

    /// A level 0 word known to be a page, with other rights: `rights` are the [`Arch::RIGHTS`] bits of a clean page
    /// that has them. Nothing that the processor has noted gets lost, not even where it notes by changing such a bit.
    #[inline(always)]
    fn with_rights(word: u64, rights: u64) -> u64 {
        word & !Self::RIGHTS | rights
    }

    /// What the hardware makes of a level 0 word known to be a page when it sets ACCESSED and DIRTY, as far as `noted`
    /// has them. For simulated hardware.
    #[inline(always)]
    fn noted(word: u64, noted: PageBits) -> u64 {
        let (pfn, bits) = (Self::pfn(word), Self::page_bits(word));
        // Only the bits that differ, so that what the common terms do not express stays.
        word ^ Self::page(pfn, bits) ^ Self::page(pfn, bits | noted)
    }

    /// log2 of the naturally aligned pages that one cached translation made of a level 0 word may stand for. For
    /// simulated hardware.
    #[inline(always)]
    fn cached_order(word: u64) -> u32 {
        let _ = word;
        0
    }

    /// The canonical form check: whether `address` can be translated at all by the tables of user mappings.
    fn is_canonical(address: u64) -> bool;
}

/// The largest number of table levels of any architecture.
pub const LEVELS_MAX: usize = 5;

/// Number of entries of a table of `level`.
#[inline(always)]
pub fn entries<A: Arch>(level: usize) -> usize {
    1 << A::index_bits(level)
}

/// The slot of a table of `level` that covers `address`.
#[inline(always)]
pub fn index<A: Arch>(address: u64, level: usize) -> usize {
    (address >> A::shift(level)) as usize & (entries::<A>(level) - 1)
}

/// log2 of the frames a table of `level` occupies.
#[inline(always)]
pub fn table_order<A: Arch>(level: usize) -> u8 {
    (A::index_bits(level) + 3).saturating_sub(A::PAGE_SHIFT) as u8
}
