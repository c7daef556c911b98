//! A cursor that pauses now and then does everything once, whatever lies in the range.

use super::{Cursor, Step};
use crate::arch::{Arch, Prot, Tiny, X86_64};
use crate::cpu::Cx;
use crate::ops::{MapRequest, Place};
use crate::phys::Pfn;
use crate::testing::TestMachine;
use crate::testing::user::store;
use crate::{Space, Vm};
use std::collections::BTreeSet;
use std::vec::Vec;

/// What a way through a range led to.
#[derive(Default)]
struct Seen {
    fresh: Vec<Pfn>,
    left: Vec<Pfn>,
    /// Addresses of slots of leaves.
    pages: Vec<u64>,
    sections: usize,
}

fn go_through<A: Arch>(space: &Space<'_, TestMachine<A>>, range: (u64, u64), step_price: usize) -> Seen {
    let mut seen = Seen::default();
    let mut here = range.0;
    loop {
        let cx = Cx::enter(space.vm());
        let mut cursor: Cursor<'_, '_, TestMachine<A>> = space.inner().cursor_over(&cx, range, here);
        while let Some(step) = cursor.next() {
            cursor.spend(step_price);
            match step {
                Step::Down(table) if cursor.is_fresh(&table) => seen.fresh.push(table.pfn),
                Step::Down(_) => {}
                Step::Leaf(slots) => seen.pages.extend((slots.low..=slots.high).map(|slot| slots.address(slot))),
                Step::Up { child, parent, address } => {
                    assert_eq!(parent.level, child.level + 1);
                    assert_eq!(parent.child(&cx, parent.index(address)).map(|table| table.pfn), Some(child.pfn));
                    seen.left.push(child.pfn);
                }
            }
        }
        seen.sections += 1;
        if cursor.is_through() {
            return seen;
        }
        assert!(here < cursor.here() || seen.sections == 1, "a section that comes no further");
        here = cursor.here();
    }
}

fn check<A: Arch>(pages: &[u64], range: (u64, u64)) {
    let vm = Vm::<TestMachine<A>>::new(TestMachine::new(4096)).expect("a machine");
    let space = vm.create_space().expect("a space");
    for &page in pages {
        let request = MapRequest::anonymous(1 << A::PAGE_SHIFT, Prot::READ_WRITE).at(Place::Fixed(page));
        store(&space, space.map(&request).expect("room"), 1).expect("memory");
    }
    let whole = go_through(&space, range, 0);
    // The leaves that lie in the range, slot by slot.
    let leaf = 1u64 << (A::shift(0) + A::index_bits(0));
    let bases: BTreeSet<u64> = pages.iter().map(|page| page & !(leaf - 1)).collect();
    let slots = bases.iter().flat_map(|&base| (base..base + leaf).step_by(1 << A::PAGE_SHIFT));
    let expected: Vec<u64> = slots.filter(|address| (range.0..range.1).contains(address)).collect();
    assert_eq!(whole.pages, expected);
    assert_eq!(whole.left.len() + 1, whole.fresh.len(), "all but the root are left");
    let distinct: BTreeSet<Pfn> = whole.fresh.iter().copied().collect();
    assert_eq!(distinct.len(), whole.fresh.len(), "a table twice");
    for price in [1, 40, 1000] {
        let paused = go_through(&space, range, price);
        assert_eq!((&paused.fresh, &paused.left), (&whole.fresh, &whole.left), "at {price} a step");
        assert_eq!(paused.pages, expected, "at {price} a step");
        assert!(
            price < 1000 || expected.is_empty() || paused.sections > bases.len() / 2,
            "no pauses at {price} a step"
        );
    }
    drop(space);
    vm.quiesce();
    vm.audited().expect("a clean machine");
}

#[test]
fn everything_is_come_to_once_with_pauses_or_without() {
    let spread: Vec<u64> = (0..40).map(|number| 0x40_0000 + number * 0x5_4321_7000).collect();
    let ends = [X86_64::USER_START, X86_64::USER_END - 0x1000];
    let all = (X86_64::USER_START, X86_64::USER_END);
    check::<X86_64>(&[], all);
    check::<X86_64>(&ends, all);
    check::<X86_64>(&spread, all);
    check::<X86_64>(&spread, (spread[3], spread[30] + 0x1000));
    check::<X86_64>(&[0x20_0000, 0x40_0000, 0x60_0000, 0x80_0000], (0x3f_f000, 0x80_1000));
    let tiny: Vec<u64> = (1..10).map(|number| (number * 7) << Tiny::PAGE_SHIFT).collect();
    check::<Tiny>(&tiny, (Tiny::USER_START, Tiny::USER_END));
    check::<Tiny>(&tiny, (8 << Tiny::PAGE_SHIFT, 60 << Tiny::PAGE_SHIFT));
}
