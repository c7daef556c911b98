//! Two ranges that are far apart, while somebody else is always there to be given way to.

use super::{ClaimPair, TRIES};
use crate::Vm;
use crate::arch::{X86_64, index};
use crate::cpu::Cx;
use crate::machine::Touch;
use crate::phys::Pfn;
use crate::space::claim::encode;
use crate::testing::hooks::{Event, watched};
use crate::testing::{TestMachine, become_cpu};
use core::cell::Cell;
use core::sync::atomic::Ordering::SeqCst;
use std::rc::Rc;
use std::sync::Arc;

const GIB: u64 = 1 << 30;
const LOWER: (u64, u64) = (GIB, GIB + 4096);
const UPPER: (u64, u64) = (3 * GIB, 3 * GIB + 4096);
/// Level of the table where the two part.
const PARTING: usize = 2;

/// Somebody with a claim that covers the slots of both, as far as whoever has the lower one sees: it is there whenever
/// the upper one's way is looked at, and is over when it was waited for.
struct Other {
    vm: Arc<Vm<TestMachine>>,
    table: Pfn,
    word: usize,
    /// Loads of the word since he was waited for: the lower claim looks first.
    loads: u32,
    /// How often he comes.
    left: Rc<Cell<usize>>,
}

impl Other {
    fn see(&mut self, event: Event) {
        match event {
            Event::Sleep(word) => {
                assert_eq!(word, self.word, "something else is waited for");
                self.left.set(self.left.get() - 1);
                self.loads = 0;
                self.claim(0);
            }
            Event::Access(address, Touch::Load) if address == self.word && self.left.get() > 0 => {
                self.loads += 1;
                if self.loads == 2 {
                    let [first, last] = [LOWER.0, UPPER.0].map(|address| index::<X86_64>(address, PARTING));
                    self.claim(encode(first, last));
                }
            }
            _ => (),
        }
    }

    fn claim(&self, what: u32) {
        self.vm.physical().frame(self.table).halves[1].store(what, SeqCst);
    }
}

/// Claims the two ranges while another comes between so many times; whether both were claimed for themselves, and how
/// often he came.
fn claimed_apart(times: usize) -> (bool, usize) {
    become_cpu(0);
    let vm = Arc::new(Vm::new(TestMachine::new(512)).expect("a machine"));
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
    let left = Rc::new(Cell::new(times));
    let mut other = Other { vm: vm.clone(), table, word, loads: 0, left: left.clone() };
    let pair = watched(move |event| other.see(event), || ClaimPair::acquire(&vm, inner, UPPER, LOWER));
    let is_apart = pair.upper.is_some();
    pair.end();
    assert_eq!(space.table_pages(), 1, "what was made for the claims is given back");
    vm.audited().expect("a sound machine");
    (is_apart, times - left.get())
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
