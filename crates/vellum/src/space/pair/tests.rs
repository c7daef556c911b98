//! Two ranges that are far apart, while somebody else is always there to be given way to.

use super::{ClaimPair, TRIES};
use crate::Vm;
use crate::arch::{X86_64, index};
use crate::cpu::Cx;
use crate::machine::{Machine, Touch};
use crate::phys::Pfn;
use crate::space::claim::encode;
use crate::testing::{TestMachine, become_cpu, of_test_machine, without_translations};
use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::Arc;

const GIB: u64 = 1 << 30;
const LOWER: (u64, u64) = (GIB, GIB + 4096);
const UPPER: (u64, u64) = (3 * GIB, 3 * GIB + 4096);
/// Level of the table where the two part.
const PARTING: usize = 2;

/// Somebody with a claim that covers the slots of both, as far as whoever has the lower one sees: it is there whenever the
/// upper one's way is looked at, and is over when it was waited for.
struct Other {
    vm: Arc<Vm<Meddled>>,
    table: Pfn,
    word: usize,
    /// Loads of the word since he was waited for: the lower claim looks first.
    loads: u32,
}

std::thread_local! {
    static OTHER: RefCell<Option<Other>> = const { RefCell::new(None) };
    /// How often he comes.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

struct Meddled(TestMachine);

// SAFETY: everything of substance is the test machine's.
unsafe impl Machine for Meddled {
    type Arch = X86_64;

    of_test_machine!(0);
    without_translations!();
    fn wait_change(&self, _word: &AtomicU32, _seen: u32) {}

    fn sleep(&self, word: &AtomicU32, _seen: u32) {
        let Some(mut other) = OTHER.take() else { return };
        assert_eq!((&raw const *word).addr(), other.word, "something else is waited for");
        LEFT.set(LEFT.get() - 1);
        other.loads = 0;
        other.vm.physical().frame(other.table).halves[1].store(0, SeqCst);
        OTHER.set(Some(other));
    }

    fn observe(address: usize, touch: Touch) {
        let Some(mut other) = OTHER.take() else { return };
        if (address, touch) == (other.word, Touch::Load) && LEFT.get() > 0 {
            other.loads += 1;
            if other.loads == 2 {
                let [first, last] = [LOWER.0, UPPER.0].map(|address| index::<X86_64>(address, PARTING));
                other.vm.physical().frame(other.table).halves[1].store(encode(first, last), SeqCst);
            }
        }
        OTHER.set(Some(other));
    }
}

/// Claims the two ranges while another comes between so many times; whether both were claimed for themselves, and how often
/// he came.
fn claimed_apart(times: usize) -> (bool, usize) {
    become_cpu(0);
    let vm = Arc::new(Vm::new(Meddled(TestMachine::new(512))).expect("a machine"));
    let space = vm.create_space().expect("memory");
    let inner = space.inner();
    // Who makes a table looks at the word, too.
    [LOWER.0, UPPER.0].iter().for_each(|&address| inner.make_way(&vm, address, PARTING - 1).expect("memory"));
    let (table, word) = {
        let cx = Cx::enter(&vm);
        let table = inner.table_at(&cx, LOWER.0, PARTING);
        assert_eq!(table.level, PARTING);
        (table.pfn, (&raw const *table.claim()).addr())
    };
    OTHER.set(Some(Other { vm: vm.clone(), table, word, loads: 0 }));
    LEFT.set(times);
    let pair = ClaimPair::acquire(&vm, inner, UPPER, LOWER);
    OTHER.take();
    let is_apart = pair.upper.is_some();
    pair.end();
    assert_eq!(space.table_pages(), 1, "what was made for the claims is given back");
    vm.audited().expect("a sound machine");
    (is_apart, times - LEFT.get())
}

#[test]
fn who_is_given_way_to_is_waited_for() {
    for times in [0, 1, TRIES - 1] {
        assert_eq!(claimed_apart(times), (true, times));
    }
}

/// Who is never alone claims all between the two in the end.
#[test]
fn ways_are_given_a_number_of_times() {
    assert_eq!(claimed_apart(TRIES), (false, TRIES));
}
