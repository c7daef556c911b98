//! A claim of much, where others have claims of parts.

use super::{Claim, encode};
use crate::arch::{X86_64, index};
use crate::cpu::Cx;
use crate::phys::Pfn;
use crate::testing::hooks::{Event, watched};
use crate::testing::{TestMachine, become_cpu};
use crate::{Space, Vm};
use core::sync::atomic::Ordering::SeqCst;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::vec::Vec;

const GIB: u64 = 1 << 30;
/// Three places in tables of their own, below that of all of them.
const PLACES: [u64; 3] = [GIB, 2 * GIB, 3 * GIB];
const LEVEL: usize = 1;

/// Claims all, and says which words are waited for. Whoever has the claim in the word of one of `tables` ends when that
/// is waited for, and nobody else.
fn waited_for(vm: &Arc<Vm<TestMachine>>, space: &Space<'_, TestMachine>, tables: Vec<(Pfn, usize)>) -> Vec<usize> {
    let (others, awaited) = (vm.clone(), Rc::new(RefCell::new(Vec::new())));
    let seen = awaited.clone();
    let end_other = move |event| {
        let Event::Sleep(word) = event else { return };
        seen.borrow_mut().push(word);
        let (table, _) = tables.iter().find(|(_, claim)| *claim == word).expect("a claim");
        others.physical().frame(*table).halves[1].store(0, SeqCst);
    };
    watched(end_other, || Claim::acquire(vm, space.inner(), PLACES[0], PLACES[2] + GIB)).release();
    awaited.take()
}

/// Wherever there are tables, also if not in the first slot of what is claimed.
#[test]
fn each_claim_below_is_waited_for() {
    become_cpu(0);
    for first in 0..PLACES.len() {
        let vm = Arc::new(Vm::new(TestMachine::new(512)).expect("a machine"));
        let space = vm.create_space().expect("memory");
        let claimed = PLACES[first..].iter().map(|&address| {
            space.inner().make_way(&vm, address, LEVEL).expect("memory");
            let cx = Cx::enter(&vm);
            let table = space.inner().table_at(&cx, address, LEVEL);
            assert_eq!(table.level, LEVEL);
            let slot = index::<X86_64>(address, LEVEL);
            table.claim().store(encode(slot, slot), SeqCst);
            (table.pfn, (&raw const *table.claim()).addr())
        });
        let tables = Vec::from_iter(claimed);
        let words: Vec<_> = tables.iter().map(|&(_, word)| word).collect();
        assert_eq!(waited_for(&vm, &space, tables), words);
        vm.audited().expect("a sound machine");
    }
}
