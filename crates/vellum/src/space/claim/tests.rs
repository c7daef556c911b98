//! A claim of much, where others have claims of parts.

use super::{Claim, encode};
use crate::Vm;
use crate::arch::{X86_64, index};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::testing::{TestMachine, become_cpu, of_test_machine, without_translations};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::cell::RefCell;
use std::vec::Vec;

const GIB: u64 = 1 << 30;
/// Three places in tables of their own, below that of all of them.
const PLACES: [u64; 3] = [GIB, 2 * GIB, 3 * GIB];
const LEVEL: usize = 1;

std::thread_local! {
    /// The words that were waited for.
    static AWAITED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Whoever is waited for ends then, and nobody else.
struct Ending(TestMachine);

// SAFETY: everything of substance is the test machine's.
unsafe impl Machine for Ending {
    type Arch = X86_64;

    of_test_machine!(0);
    without_translations!();
    fn wait_change(&self, _word: &AtomicU32, _seen: u32) {}

    fn sleep(&self, word: &AtomicU32, _seen: u32) {
        AWAITED.with_borrow_mut(|awaited| awaited.push((&raw const *word).addr()));
        word.store(0, SeqCst);
    }
}

/// Wherever there are tables, also if not in the first slot of what is claimed.
#[test]
fn each_claim_below_is_waited_for() {
    become_cpu(0);
    for first in 0..PLACES.len() {
        let vm = Vm::new(Ending(TestMachine::new(512))).expect("a machine");
        let space = vm.create_space().expect("memory");
        let claimed = PLACES[first..].iter().map(|&address| {
            space.inner().make_way(&vm, address, LEVEL).expect("memory");
            let cx = Cx::enter(&vm);
            let table = space.inner().table_at(&cx, address, LEVEL);
            assert_eq!(table.level, LEVEL);
            let slot = index::<X86_64>(address, LEVEL);
            table.claim().store(encode(slot, slot), SeqCst);
            (&raw const *table.claim()).addr()
        });
        let words = Vec::from_iter(claimed);
        let claim = Claim::acquire(&vm, space.inner(), PLACES[0], PLACES[2] + GIB);
        assert_eq!(AWAITED.take(), words);
        claim.release();
        vm.audited().expect("a sound machine");
    }
}
