//! A CPU turns to other tables, and may cache what the old ones say just before: what it reads then belongs to the
//! step.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use vellum_explore::{Bound, Execution, MemoryOrder, Plan, Program, Way, WordId, access, search, sim};

/// CPU 0 says that it has left its tables, and leaves them then. CPU 1 frees them once it has said so.
struct LeavesLate;

#[derive(Default)]
struct Run(Box<[AtomicU64; 2]>);

const HAS_LEFT: usize = 0;
const IS_FREE: usize = 1;

impl Program for LeavesLate {
    fn cpus(&self) -> usize {
        2
    }

    fn start(&self) -> Arc<dyn Execution> {
        Arc::new(Run::default())
    }
}

impl Execution for Run {
    fn memory(&self) -> Vec<Range<usize>> {
        let start = self.0.as_ptr().addr();
        std::iter::once(start..start + size_of_val(&*self.0)).collect()
    }

    fn run(&self, cpu: usize) {
        if cpu == 0 {
            access::store(&self.0[HAS_LEFT], 1, SeqCst);
            access::turn(0);
        } else if access::load(&self.0[HAS_LEFT], Relaxed) == 1 {
            access::store(&self.0[IS_FREE], 1, SeqCst);
        }
    }

    fn fills_on(&self, cpu: usize) -> u8 {
        (cpu == 0) as u8
    }

    fn words_of_fills_on(&self, _: usize) -> Vec<WordId> {
        access::words_read_by(|| access::load(&self.0[IS_FREE], Relaxed))
    }

    fn fill_on(&self, _: usize, _: u8) {
        if access::load(&self.0[IS_FREE], Relaxed) == 1 {
            sim::report("I-PTFREE", "the tables were free".into());
        }
    }
}

/// Nothing conflicted with the turn, so that the pre-emption before it passed for redundant.
#[test]
fn tables_are_freed_before_a_cpu_turns_from_them() {
    for (order, reduce) in [(MemoryOrder::Sc, false), (MemoryOrder::Sc, true), (MemoryOrder::Tso, true)] {
        let way = Way::Exhaustive { bound: Bound { preemptions: 1, surprises: 1 }, reduce };
        let outcome = search(Arc::new(LeavesLate), &Plan::new(way, order)).expect("it repeats itself");
        assert_eq!(outcome.broken.map(|(broken, _)| broken.invariant), Some("I-PTFREE".into()), "{order:?} {reduce}");
    }
}
