//! Entry formats against the manuals: words put together by hand from the bit numbers the manuals give, and what they
//! must mean; and that every combination of flags survives the way through each format.

use std::ops::RangeInclusive;
use vellum::arch::{
    Aarch64, Absent, Arch, Entry, PageBits, Ppc64, Riscv64, Riscv64Sv48, Shootdown, Sparc64, SwapSlot, Tiny,
    TinyAssist, TinyBlind, TinyBroadcast, X86_64, X86_64La57, entries, index, table_order,
};
use vellum::phys::Pfn;

const R: PageBits = PageBits::READ;
const W: PageBits = PageBits::WRITE;
const X: PageBits = PageBits::EXECUTE;
const A: PageBits = PageBits::ACCESSED;
const D: PageBits = PageBits::DIRTY;
const OWN: PageBits = PageBits::EXCLUSIVE;
const ZERO: PageBits = PageBits::SPECIAL;
const TAG: PageBits = PageBits::TAGGED;
/// What every format expresses.
const FLAGS: [PageBits; 7] = [R, W, X, A, D, OWN, ZERO];

fn all(flags: &[PageBits]) -> PageBits {
    flags.iter().fold(PageBits::NONE, |all, &flag| all | flag)
}

/// The word with these bits, by the little-endian count of most manuals, and a field from bit `low` on.
fn word(bits: &[u32], field: (u64, u32)) -> u64 {
    bits.iter().fold(field.0 << field.1, |word, bit| word | 1 << bit)
}

/// As [`word`], by the big-endian count of the Power ISA: bit 0 is the most significant one.
fn power_word(bits: &[u32], field: u64) -> u64 {
    bits.iter().fold(field << 12, |word, bit| word | 1 << (63 - bit))
}

#[track_caller]
fn means<T: Arch>(word: u64, pfn: u64, flags: &[PageBits]) {
    assert_eq!(T::decode(word, 0), Entry::Page(Pfn(pfn), all(flags)), "{word:#018x}");
    assert_eq!((T::pfn(word), T::page_bits(word)), (Pfn(pfn), all(flags)), "{word:#018x}");
}

/// The word means that, and is the one that is made for it.
#[track_caller]
fn is<T: Arch>(word: u64, pfn: u64, flags: &[PageBits]) {
    means::<T>(word, pfn, flags);
    assert_eq!(T::page(Pfn(pfn), all(flags)), word, "{:#018x}", T::page(Pfn(pfn), all(flags)));
}

#[track_caller]
fn is_table<T: Arch>(word: u64, pfn: u64, levels: RangeInclusive<usize>) {
    assert_eq!(T::table(Pfn(pfn)), word, "{:#018x}", T::table(Pfn(pfn)));
    assert_eq!(T::table_of(word), Some(Pfn(pfn)));
    levels.for_each(|level| assert_eq!(T::decode(word, level), Entry::Table(Pfn(pfn))));
}

#[test]
fn x86_64_words() {
    // P 0, R/W 1, U/S 2, A 5, D 6, ignored 9 and 10, frame from 12, XD 63; G (8) means nothing without P.
    is::<X86_64>(word(&[0, 2, 63], (0x1234, 12)), 0x1234, &[R]);
    is::<X86_64>(word(&[0, 1, 2, 5, 6, 9], (0xab, 12)), 0xab, &[R, W, X, A, D, OWN]);
    is::<X86_64>(word(&[0, 2, 5, 10], (1, 12)), 1, &[R, X, A, ZERO]);
    // Without P the frame is inverted.
    is::<X86_64>(word(&[8, 5, 6, 63], (0xff_ffff_fff8, 12)), 7, &[A, D]);
    is::<X86_64La57>(word(&[0, 2, 63], (0xff_ffff_ffff, 12)), 0xff_ffff_ffff, &[R]);
    is_table::<X86_64>(word(&[0, 1, 2, 5], (0x77, 12)), 0x77, 1..=3);
}

/// What is not present names, to a processor that loads by it before it faults, memory from 1 PiB on (L1TF), as long as
/// there are no more than 128 TiB of memory, and in an area of swap.
#[test]
fn x86_64_words_that_are_not_present_name_no_memory() {
    const FAR: u64 = 1 << 38;
    let named = |word: u64| word >> 12 & ((1 << 40) - 1);
    for pfn in [0, 1, 0xabcd, (1 << 35) - 1].map(Pfn) {
        let moving = |flag| Absent::Migration { pfn, is_exclusive: flag, is_dirty: flag, is_accessed: flag };
        let slot = SwapSlot::new(31, pfn.0);
        let swapped = [Absent::Swap { slot, is_exclusive: true }, Absent::Swap { slot, is_exclusive: false }];
        for absent in swapped.into_iter().chain([moving(true), moving(false), Absent::Poison, Absent::Splitting]) {
            let word = X86_64::absent(absent);
            assert!(word & 1 == 0 && !X86_64::is_page(word), "{word:#x}");
            assert!(named(word) >= FAR, "{absent:?}: {word:#x}");
            assert_eq!(X86_64::absent_of(word), Some(absent));
            assert_eq!(X86_64::decode(word, 0), Entry::Absent(absent));
        }
        for bits in combinations().filter(|bits| !bits.has_any(R | W | X)) {
            assert!(named(X86_64::page(pfn, bits)) >= FAR, "{pfn:?}");
            let revoked = X86_64::with_rights(X86_64::page(pfn, bits | R), X86_64::page(Pfn(0), bits) & X86_64::RIGHTS);
            assert!(named(revoked) >= FAR && X86_64::pfn(revoked) == pfn, "{pfn:?}");
        }
    }
    assert_eq!(X86_64::absent_of(0), None);
}

#[test]
fn aarch64_words() {
    // Valid 0, type 1, AttrIndx 4:2, AP[1] 6, AP[2] 7, SH 9:8, AF 10, nG 11, address 47:12, DBM 51, Contiguous 52,
    // PXN 53, UXN 54, software 58:55 (55 dirty, 56 exclusive, 57 special).
    let page = |bits: &[u32], pfn: u64| word(bits, (pfn, 12)) | word(&[1, 8, 9, 11, 53], (0, 0));
    is::<Aarch64>(page(&[0, 6, 7, 54], 0x1234), 0x1234, &[R]);
    is::<Aarch64>(page(&[0, 6, 7, 10], 0xf_ffff_ffff), 0xf_ffff_ffff, &[R, X, A]);
    is::<Aarch64>(page(&[0, 7, 10], 3), 3, &[X, A]);
    // Writable: clean, dirty by the processor alone, dirty by both, dirty with the write right taken away.
    is::<Aarch64>(page(&[0, 6, 7, 10, 51, 54], 5), 5, &[R, W, A]);
    means::<Aarch64>(page(&[0, 6, 10, 51, 54], 5), 5, &[R, W, A, D]);
    is::<Aarch64>(page(&[0, 6, 10, 51, 54, 55], 5), 5, &[R, W, A, D]);
    is::<Aarch64>(page(&[0, 6, 7, 10, 54, 55], 5), 5, &[R, A, D]);
    // Written to without any notice: no modifier.
    means::<Aarch64>(page(&[0, 6, 10, 54], 5), 5, &[R, W, A, D]);
    // EL1 may write, EL0 may not even read.
    means::<Aarch64>(page(&[0, 10], 5), 5, &[X, A]);
    is::<Aarch64>(page(&[0, 6, 7, 54, 56, 57], 5), 5, &[R, OWN, ZERO]);
    // AttrIndx 1: memory with tags.
    is::<Aarch64>(page(&[0, 2, 6, 7, 54], 5), 5, &[R, TAG]);
    is::<Aarch64>(page(&[2, 7, 10, 54], 5), 5, &[A, TAG]);
    // Bits 1:0 are 10: invalid to the processor.
    is::<Aarch64>(page(&[7, 10, 54, 55, 56], 5), 5, &[A, D, OWN]);
    means::<Aarch64>(page(&[0, 6, 7, 52, 54], 0x10), 0x10, &[R]);
    is_table::<Aarch64>(word(&[0, 1], (0x777, 12)), 0x777, 1..=3);
    // A block (01) is no table.
    assert_eq!(Aarch64::table_of(word(&[0, 6, 10], (0x200, 12))), None);
}

#[test]
fn riscv_words() {
    // V 0, R 1, W 2, X 3, U 4, G 5, A 6, D 7, RSW 9:8, PPN 53:10.
    is::<Riscv64>(word(&[0, 1, 4], (0x1234, 10)), 0x1234, &[R]);
    is::<Riscv64>(word(&[0, 1, 2, 4, 6, 7], (0xfff_ffff_ffff, 10)), 0xfff_ffff_ffff, &[R, W, A, D]);
    is::<Riscv64Sv48>(word(&[0, 3, 4, 6], (9, 10)), 9, &[X, A]);
    is::<Riscv64Sv48>(word(&[0, 1, 2, 3, 4, 6, 7, 8, 9], (9, 10)), 9, &FLAGS);
    is::<Riscv64>(word(&[5, 6, 7, 8], (9, 10)), 9, &[A, D, OWN]);
    is_table::<Riscv64>(word(&[0], (0x777, 10)), 0x777, 1..=2);
    is_table::<Riscv64Sv48>(word(&[0], (0x777, 10)), 0x777, 1..=3);
    // W without R is reserved: it is never made.
    assert_eq!(Riscv64::page(Pfn(9), W), word(&[0, 1, 2, 4], (9, 10)));
}

#[test]
fn power_words() {
    // Valid 0, leaf 1, software 2 and 52:54, RPN 7:51, R 55, C 56, Att 58:59, EAA 60:63 (privileged, read, read/write,
    // execute).
    is::<Ppc64>(power_word(&[0, 1, 61], 0x1234), 0x1234, &[R]);
    is::<Ppc64>(power_word(&[0, 1, 61, 62, 55, 56], 0x1fff_ffff_ffff), 0x1fff_ffff_ffff, &[R, W, A, D]);
    is::<Ppc64>(power_word(&[0, 1, 63, 55], 5), 5, &[X, A]);
    is::<Ppc64>(power_word(&[0, 1, 61, 62, 63, 55, 56, 52, 53], 5), 5, &FLAGS);
    // Read/write implies read.
    means::<Ppc64>(power_word(&[0, 1, 62], 5), 5, &[R, W]);
    is::<Ppc64>(power_word(&[1, 55, 56, 52], 5), 5, &[A, D, OWN]);
    // A published walk of a radix tree: V, L, R, C and EAA 7 at frame 0.
    means::<Ppc64>(0xc000_0000_0000_0187, 0, &[R, W, X, A, D]);
    // NLB 4:55, NLS 59:63: 2^9 entries below.
    is_table::<Ppc64>(power_word(&[0, 60, 63], 0x40), 0x40, 1..=3);
    assert_eq!(Ppc64::table(Pfn(0x40)), 0x8000_0000_0004_0009, "as in that walk");
}

#[test]
fn sparc_words() {
    // V 63, NFO 62, soft2 61:56, real address 55:13, IE 12, E 11, CP 10, mcd (once CV) 9, P 8, EP 7, W 6, soft 5:4,
    // size 3:0.
    is::<Sparc64>(word(&[63, 10, 4], (0x1234, 13)), 0x1234, &[R]);
    is::<Sparc64>(word(&[63, 10, 4, 6, 60, 61], (0x7ff_ffff_ffff, 13)), 0x7ff_ffff_ffff, &[R, W, A, D]);
    is::<Sparc64>(word(&[63, 10, 4, 7, 60, 57], (5, 13)), 5, &[R, X, A, ZERO]);
    is::<Sparc64>(word(&[63, 10, 4, 6, 7, 57, 59, 60, 61], (5, 13)), 5, &FLAGS);
    is::<Sparc64>(word(&[10, 4, 59, 60, 61], (5, 13)), 5, &[A, D, OWN]);
    is::<Sparc64>(word(&[63, 10, 9, 4, 60], (5, 13)), 5, &[R, A, TAG]);
    is::<Sparc64>(word(&[10, 9, 4, 60], (5, 13)), 5, &[A, TAG]);
    // A table, which is software's alone, must not be valid to a TLB.
    is_table::<Sparc64>(word(&[5], (0x777, 13)), 0x777, 1..=3);
}

/// The word means a huge page at `level`, and is the one that is made for it.
#[track_caller]
fn is_huge<T: Arch>(word: u64, level: usize, pfn: u64, flags: &[PageBits]) {
    assert_eq!(T::decode(word, level), Entry::Page(Pfn(pfn), all(flags)), "{word:#018x}");
    let made = T::huge(T::page(Pfn(pfn), all(flags)), level);
    assert_eq!(made, word, "{made:#018x}");
    assert_eq!(T::table_of(word), None);
}

#[test]
fn words_of_huge_pages() {
    // PS is bit 7 of an upper entry. Without P the frame is inverted, its low bits included.
    is_huge::<X86_64>(word(&[0, 1, 2, 5, 6, 7, 63], (0x200, 12)), 1, 0x200, &[R, W, A, D]);
    is_huge::<X86_64>(word(&[0, 2, 7], (0x4_0000, 12)), 2, 0x4_0000, &[R, X]);
    is_huge::<X86_64>(word(&[5, 7, 8, 63], (0xff_ffff_fdff, 12)), 1, 0x200, &[A]);
    // Bits 1:0 of a block are 01; what is not valid is the software's.
    let block = |bits: &[u32], pfn: u64| word(bits, (pfn, 12)) | word(&[8, 9, 11, 53], (0, 0));
    is_huge::<Aarch64>(block(&[0, 6, 10, 51, 54, 55], 0x200), 1, 0x200, &[R, W, A, D]);
    is_huge::<Aarch64>(block(&[0, 6, 7, 10], 0x4_0000), 2, 0x4_0000, &[R, X, A]);
    is_huge::<Aarch64>(block(&[1, 7, 10, 54], 0x200), 1, 0x200, &[A]);
    // An upper entry that grants a right is a leaf.
    is_huge::<Riscv64>(word(&[0, 1, 2, 4, 6, 7], (0x200, 10)), 1, 0x200, &[R, W, A, D]);
    is_huge::<Riscv64Sv48>(word(&[0, 3, 4, 6], (0x4_0000, 10)), 2, 0x4_0000, &[X, A]);
    is_huge::<Riscv64>(word(&[5, 6], (0x200, 10)), 1, 0x200, &[A]);
    // Leaf is bit 1.
    is_huge::<Ppc64>(power_word(&[0, 1, 61, 62, 55, 56], 0x200), 1, 0x200, &[R, W, A, D]);
    is_huge::<Ppc64>(power_word(&[1, 55], 0x200), 1, 0x200, &[A]);
    // Size 3:0 is 3, 4 MiB.
    is_huge::<Sparc64>(word(&[63, 10, 4, 6, 60, 61], (0x400, 13)) | 3, 1, 0x400, &[R, W, A, D]);
    is_huge::<Sparc64>(word(&[10, 4, 60], (0x400, 13)) | 3, 1, 0x400, &[A]);
}

/// What a combination of flags means: rights that imply others have them, and there are tags only where the processor
/// has any.
fn closed<T: Arch>(bits: PageBits) -> PageBits {
    let implies = if T::SEMANTICS.execute_implies_read { W | X } else { W };
    let bits = if bits.has_any(implies) { bits | R } else { bits };
    if T::SEMANTICS.tags.is_some() { bits } else { bits.without(TAG) }
}

fn combinations() -> impl Iterator<Item = PageBits> {
    let flags = || FLAGS.iter().chain(&[TAG]);
    (0..1u32 << flags().count()).map(move |set| {
        let chosen = flags().enumerate().filter(|(place, _)| set >> place & 1 != 0);
        chosen.fold(PageBits::NONE, |all, (_, &flag)| all | flag)
    })
}

/// Every combination survives; rights are changed, taken away and noted without loss.
fn round_trip<T: Arch>(frame_bits: u32, hardware_valid: impl Fn(u64) -> bool) {
    let prots =
        || combinations().filter(|bits| bits.without(R | W | X) == PageBits::NONE && *bits == closed::<T>(*bits));
    let huge = 1 << (frame_bits - 1);
    for pfn in [1, 0x5a5a5 & ((1 << frame_bits) - 1), (1 << frame_bits) - 1, huge].map(Pfn) {
        for given in combinations() {
            let bits = closed::<T>(given);
            // The toys take rights as they are given: nobody gives them one without those that it implies.
            let word = T::page(pfn, if T::NAME.starts_with("tiny") { bits } else { given });
            assert_eq!(T::decode(word, 0), Entry::Page(pfn, bits), "{} {word:#x}", T::NAME);
            assert!(T::is_page(word), "{} {word:#x}", T::NAME);
            assert_eq!(hardware_valid(word), bits.prot().raw() != 0, "{} {word:#x}", T::NAME);
            assert_eq!(T::page_bits(T::shared_copy(word)), bits.without(W | OWN), "{} {word:#x}", T::NAME);
            assert_eq!(T::pfn(T::shared_copy(word)), pfn);
            for rights in prots() {
                let other = T::page(pfn, bits.without(R | W | X) | rights);
                let are_alike = hardware_valid(word) == hardware_valid(other);
                assert!(!are_alike || (word ^ other) & !T::RIGHTS == 0, "{} {word:#x} {other:#x}", T::NAME);
                let changed = T::with_rights(word, T::page(Pfn(0), rights) & T::RIGHTS);
                assert_eq!(changed, other, "{} {word:#x} with {rights:?}", T::NAME);
            }
            for level in
                (1..=T::HUGE_LEVEL).filter(|level| pfn.0.is_multiple_of(1 << (T::shift(*level) - T::PAGE_SHIFT)))
            {
                let huge = T::huge(word, level);
                assert_eq!(T::decode(huge, level), Entry::Page(pfn, bits), "{} {huge:#x}", T::NAME);
                assert_eq!((T::is_huge(huge), T::small(huge), T::table_of(huge)), (true, word, None), "{}", T::NAME);
            }
            for noted in [A, D, A | D] {
                let now = T::noted(word, noted.without(bits));
                let allowed = if noted.has(D) { bits.has(W) } else { bits.prot().raw() != 0 };
                assert!(!allowed || T::decode(now, 0) == Entry::Page(pfn, bits | noted), "{} {now:#x}", T::NAME);
            }
        }
        assert_eq!(T::table_of(T::table(pfn)), Some(pfn));
        assert_eq!(T::decode(T::table(pfn), T::LEVELS - 1), Entry::Table(pfn));
        assert!(!T::is_huge(T::table(pfn)) && !T::is_huge(0), "{}", T::NAME);
    }
    (0..T::LEVELS).for_each(|level| assert_eq!(T::decode(0, level), Entry::Empty));
    assert_eq!(T::table_of(0), None);
}

#[test]
fn all_flags_survive() {
    let bit = |number: u32| move |word: u64| word >> number & 1 != 0;
    round_trip::<X86_64>(40, bit(0));
    round_trip::<X86_64La57>(40, bit(0));
    round_trip::<Aarch64>(36, bit(0));
    round_trip::<Riscv64>(44, bit(0));
    round_trip::<Riscv64Sv48>(44, bit(0));
    round_trip::<Ppc64>(45, bit(63));
    round_trip::<Sparc64>(43, bit(63));
    // To the toys' processors a page without rights is valid, and allows nothing.
    let any_right = |word: u64| word >> 48 & 7 != 0;
    round_trip::<Tiny>(40, any_right);
    round_trip::<TinyAssist>(40, any_right);
    round_trip::<TinyBlind>(40, any_right);
    round_trip::<TinyBroadcast>(40, any_right);
}

/// Every kind of absent page, with every flag, and with values of all digits and of the fewest.
fn absent_pages() -> impl Iterator<Item = Absent> {
    let flags = || [false, true];
    let offsets = [0, 1, 0x5a_5a5a_5a5a, (1 << SwapSlot::OFFSET_BITS) - 1];
    let slots = [0, 1, 0x15, 0x1f].into_iter().flat_map(move |area| offsets.map(|at| SwapSlot::new(area, at)));
    let swapped = slots.flat_map(move |slot| flags().map(|is_exclusive| Absent::Swap { slot, is_exclusive }));
    let pfns = [1, 0x1234_5678_9abc, (1 << 45) - 1].map(Pfn);
    let moving = pfns.into_iter().flat_map(move |pfn| {
        (0..8).map(move |set| {
            let (is_exclusive, is_dirty, is_accessed) = (set & 1 != 0, set & 2 != 0, set & 4 != 0);
            Absent::Migration { pfn, is_exclusive, is_dirty, is_accessed }
        })
    });
    swapped.chain(moving).chain([Absent::Poison, Absent::Splitting])
}

/// The same, belonging to nobody alone.
fn shared(absent: Absent) -> Absent {
    match absent {
        Absent::Swap { slot, .. } => Absent::Swap { slot, is_exclusive: false },
        Absent::Migration { pfn, is_dirty, is_accessed, .. } => {
            Absent::Migration { pfn, is_exclusive: false, is_dirty, is_accessed }
        }
        Absent::Poison => Absent::Poison,
        Absent::Splitting => Absent::Splitting,
    }
}

fn absent_round_trip<T: Arch>(valid: u32) {
    for absent in absent_pages() {
        let word = T::absent(absent);
        let show = || format!("{} {absent:?} {word:#x}", T::NAME);
        assert_eq!(T::decode(word, 0), Entry::Absent(absent), "{}", show());
        assert_eq!(T::absent_of(word), Some(absent), "{}", show());
        assert_ne!(word, 0, "{}: the empty word", show());
        assert_eq!(word >> valid & 1, 0, "{}: valid to the processor", show());
        assert!(!T::is_page(word), "{}", show());
        assert_eq!(T::table_of(word), None, "{}", show());
        assert!(!T::is_huge(word), "{}", show());
        // Above the levels of pages none is ever found; were one, it must lead nowhere.
        for level in 1..T::LEVELS {
            let says = if level <= T::HUGE_LEVEL { Entry::Absent(absent) } else { Entry::Empty };
            assert_eq!(T::decode(word, level), says, "{} {level}", show());
        }
        assert_eq!(T::absent_of(T::shared_absent(word)), Some(shared(absent)), "{}", show());
        assert_eq!(T::shared_absent(word), T::absent(shared(absent)), "{}", show());
    }
    assert_eq!((T::absent_of(0), T::is_page(0)), (None, false), "{}", T::NAME);
}

#[test]
fn absent_pages_survive() {
    absent_round_trip::<X86_64>(0);
    absent_round_trip::<X86_64La57>(0);
    absent_round_trip::<Aarch64>(0);
    absent_round_trip::<Riscv64>(0);
    absent_round_trip::<Riscv64Sv48>(0);
    absent_round_trip::<Ppc64>(63);
    absent_round_trip::<Sparc64>(63);
    absent_round_trip::<Tiny>(63);
    absent_round_trip::<TinyAssist>(63);
    absent_round_trip::<TinyBlind>(63);
    absent_round_trip::<TinyBroadcast>(63);
}

#[test]
fn slots_are_areas_and_offsets() {
    let slot = SwapSlot::new(31, (1 << SwapSlot::OFFSET_BITS) - 1);
    assert_eq!((slot.area(), slot.offset()), (31, (1 << SwapSlot::OFFSET_BITS) - 1));
    assert_eq!((SwapSlot::new(0, 7).area(), SwapSlot::new(0, 7).offset()), (0, 7));
}

/// What the processor alone has noted survives a change of rights, fork, and fork of a protected page.
#[test]
fn dirty_by_hardware_is_not_lost() {
    let clean = Aarch64::page(Pfn(5), R | W | A);
    let dirty = Aarch64::noted(clean, D);
    assert_eq!(clean ^ dirty, 1 << 7, "the processor clears AP[2] and nothing else");
    let rights = |bits| Aarch64::page(Pfn(0), bits) & Aarch64::RIGHTS;
    let none = Aarch64::with_rights(dirty, rights(PageBits::NONE));
    assert_eq!(Aarch64::page_bits(none), A | D);
    assert_eq!(Aarch64::page_bits(Aarch64::with_rights(none, rights(R | W))), R | W | A | D);
    assert_eq!(Aarch64::page_bits(Aarch64::shared_copy(dirty)), R | A | D);
    assert_eq!(Aarch64::page_bits(Aarch64::with_rights(clean, rights(R))), R | A);
}

#[test]
fn contiguous_blocks() {
    let words = |first: u64, bits| std::array::from_fn(|place| Aarch64::page(Pfn(first + place as u64), bits));
    let good: [u64; 16] = words(0x40, R | W | A);
    assert!(Aarch64::may_be_contiguous(32, &good));
    assert!(!Aarch64::may_be_contiguous(8, &good), "slots are not aligned");
    assert!(!Aarch64::may_be_contiguous(32, &words(0x41, R)), "frames are not aligned");
    assert!(!Aarch64::may_be_contiguous(32, &words(0x40, PageBits::NONE)), "no right");
    let with = |place: usize, word: u64| {
        let mut words = good;
        words[place] = word;
        Aarch64::may_be_contiguous(0, &words)
    };
    // What the processor notes in one of them, and what is software's, may differ.
    assert!(with(3, Aarch64::noted(good[3], D)) && with(15, Aarch64::page(Pfn(0x4f), R | W | OWN)));
    assert!(with(7, good[7] | Aarch64::CONTIGUOUS));
    assert!(!with(5, Aarch64::page(Pfn(0x45), R | W | A | TAG)), "memory of another kind");
    assert!(!with(3, good[4]) && !with(0, 0) && !with(9, Aarch64::page(Pfn(0x49), R | A)));
    assert_eq!(Aarch64::cached_order(good[0]), 0);
    assert_eq!(Aarch64::cached_order(good[0] | 1 << 52), 4);
    assert_eq!(Aarch64::page_bits(good[0] | 1 << 52), R | W | A);
}

/// Levels and index bits make up the width of addresses; tables fill the frames they are given.
fn shape<T: Arch>(width: u32) {
    let mut shift = T::PAGE_SHIFT;
    for level in 0..T::LEVELS {
        assert_eq!(T::shift(level), shift, "{} level {level}", T::NAME);
        shift += T::index_bits(level);
        let bytes = entries::<T>(level) * 8;
        assert!(bytes <= 1 << (T::PAGE_SHIFT + u32::from(table_order::<T>(level))));
    }
    assert_eq!(shift, width, "{}", T::NAME);
    // An address of all digits: its indices put together are it.
    let address = 0x0123_4567_89ab_cdef & ((1 << width) - 1);
    let again = (0..T::LEVELS).fold(address & ((1 << T::PAGE_SHIFT) - 1), |sum, level| {
        sum | (index::<T>(address, level) as u64) << T::shift(level)
    });
    assert_eq!(again, address, "{}", T::NAME);
    assert!(T::USER_START.is_multiple_of(1 << T::PAGE_SHIFT) && T::USER_END.is_multiple_of(1 << T::PAGE_SHIFT));
    assert!(T::is_canonical(T::USER_START) && T::is_canonical(T::USER_END - 1));
    assert!(T::SEMANTICS.shootdown != Shootdown::Broadcast || T::ASIDS > 1);
}

#[test]
fn shapes() {
    shape::<X86_64>(48);
    shape::<X86_64La57>(57);
    shape::<Aarch64>(48);
    shape::<Riscv64>(39);
    shape::<Riscv64Sv48>(48);
    shape::<Ppc64>(52);
    shape::<Sparc64>(53);
    shape::<Tiny>(18);
    assert_eq!((table_order::<Ppc64>(3), entries::<Ppc64>(3)), (4, 8192));
    assert_eq!(table_order::<Sparc64>(3), 0);
}

#[test]
fn addresses_split() {
    assert_eq!((0..3).map(|level| index::<Riscv64>(0x12_3456_7abc, level)).collect::<Vec<_>>(), [0x167, 0x1a2, 0x48]);
    assert_eq!(index::<Ppc64>(0xf_ffff_ffff_ffff, 3), 8191);
    assert_eq!(index::<Ppc64>(1 << 39, 3), 1);
    assert_eq!(index::<Sparc64>(0x2000, 0), 1);
    assert_eq!(index::<Sparc64>(1 << 43, 3), 1);
    assert_eq!(index::<Aarch64>(0xffff_ffff_f000, 0), 511);
}

#[test]
fn canonical_addresses() {
    fn edge<T: Arch>(low_end: u64, high_start: Option<u64>) {
        assert!(T::is_canonical(low_end - 1) && !T::is_canonical(low_end), "{}", T::NAME);
        match high_start {
            Some(start) => assert!(T::is_canonical(start) && !T::is_canonical(start - 1), "{}", T::NAME),
            None => assert!(!T::is_canonical(u64::MAX), "{}", T::NAME),
        }
    }
    edge::<X86_64>(1 << 47, Some(0xffff_8000_0000_0000));
    edge::<X86_64La57>(1 << 56, Some(0xff00_0000_0000_0000));
    edge::<Aarch64>(1 << 48, None);
    edge::<Riscv64>(1 << 38, Some(0xffff_ffc0_0000_0000));
    edge::<Riscv64Sv48>(1 << 47, Some(0xffff_8000_0000_0000));
    edge::<Ppc64>(1 << 52, None);
    edge::<Sparc64>(1 << 52, Some(0xfff0_0000_0000_0000));
}
