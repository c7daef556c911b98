//! Small programs of which the explorer once missed an outcome.

use super::reference;
use super::text::Text;
use vellum_explore::{Bound, MemoryOrder};

fn finds(program: &str, order: MemoryOrder, loaded: &[u64], bound: Bound) {
    let text = Text::new(program);
    assert!(reference::outcomes(&text, order).outcomes.iter().any(|outcome| outcome.starts_with(loaded)), "{program}");
    for reduce in [false, true] {
        let (found, _) = text.explore(order, bound, reduce);
        assert!(found.outcomes.iter().any(|outcome| outcome.starts_with(loaded)), "{program}, reduced {reduce}");
    }
}

const SC: Bound = Bound { preemptions: 2, surprises: 0 };

/// A store is seen by its own CPU although a later one of another CPU has been seen: stores that waited were let in
/// without regard to the order in which they had been issued.
#[test]
fn a_newer_store_hides_an_own_one() {
    finds("x=1; x | x=2", MemoryOrder::Tso, &[2], SC);
    finds("y=1; x; x | y=2; x=1; y", MemoryOrder::Tso, &[0, 1, 2], SC);
}

/// A read-modify-write let its CPU's own store arrive before an older one of another CPU.
#[test]
fn an_older_store_arrives_first() {
    finds("z=1; z+100; z | z=5", MemoryOrder::Tso, &[5, 105], SC);
}

/// A fence was no place to be pre-empted at: its CPU's store could not be late once the CPU had gone on.
#[test]
fn a_store_is_late_before_a_fence() {
    finds("x=1; z; fence; y | z=1; fence; x", MemoryOrder::Tso, &[0, 0, 0], Bound { preemptions: 1, surprises: 1 });
    finds("x=1; z; w+1 | z=1; fence; x", MemoryOrder::Tso, &[0, 0, 0], Bound { preemptions: 1, surprises: 1 });
}

/// A pre-emption before a load was taken for redundant, because nobody had stored to its word meanwhile; but another
/// CPU had seen the word as it was before a store that waited arrived.
#[test]
fn a_load_lets_a_store_arrive() {
    let program = "f=1; w; x; z | x=1; z=1; y; f | w=1; y=1; fence; x";
    finds(program, MemoryOrder::Tso, &[0, 1, 0, 0, 0, 0], Bound { preemptions: 1, surprises: 2 });
}

/// A wait that could go on was no place to be pre-empted at: nobody could take away what it waited for.
#[test]
fn a_wait_loses_what_it_waited_for() {
    for order in [MemoryOrder::Sc, MemoryOrder::Tso] {
        let text = Text::new("f=1; g=1; wait f | wait g; f=0");
        assert!(reference::outcomes(&text, order).deadlock);
        for reduce in [false, true] {
            assert!(
                text.explore(order, Bound { preemptions: 1, surprises: 0 }, reduce).0.deadlock,
                "{order:?} {reduce}"
            );
        }
    }
}

/// A wait went on because of a store that it did not let arrive: stores before that one could be missed afterwards.
#[test]
fn a_wait_lets_the_store_arrive() {
    let text = Text::new("x=1; f=1 | wait f; x");
    for order in [MemoryOrder::Sc, MemoryOrder::Tso] {
        let (found, _) = text.explore(order, Bound::NONE, true);
        assert_eq!(found, reference::outcomes(&text, order));
        assert!(found.outcomes.iter().all(|outcome| outcome[0] == 1));
    }
}

/// A wait of a CPU for its own store was a deadlock.
#[test]
fn a_wait_sees_an_own_store() {
    let text = Text::new("f=1; wait f; x | f; x=1");
    assert_eq!(text.explore(MemoryOrder::Tso, Bound::NONE, true).0, reference::outcomes(&text, MemoryOrder::Tso));
}

fn reduces(program: &str, handler: &str, order: MemoryOrder, bound: Bound) {
    let text = Text::new(program).with_handler(handler);
    let (whole, _) = text.explore(order, bound, false);
    assert_eq!(text.explore(order, bound, true).0, whole, "{program}, on an interrupt {handler}");
}

/// To switch interrupts off was no place to be pre-empted at: an interrupt could not come just before.
#[test]
fn an_interrupt_comes_before_it_is_masked() {
    let program = "interrupt 1; z; masked y=9; fence; x=3; wait f | y=4; interrupt 0; x; z; f=1";
    reduces(program, "x; y", MemoryOrder::Sc, SC);
}

/// Between an interrupt and the access before which it came, a CPU could not be pre-empted once more.
#[test]
fn a_second_interrupt_comes_before_the_same_access() {
    let program = "masked y=9; interrupt 2; y; y; wait f | x=3; interrupt 2; f=1; x+100 | x=5; y; masked x=1000";
    reduces(program, "x+100; z=8", MemoryOrder::Sc, SC);
}

/// Stores to different words that arrived together cost a surprise or not by the order in which they had been issued.
#[test]
fn unrelated_stores_arrive_in_no_order() {
    let program = "f=0; masked y=9; interrupt 1; f=1 | y; z; interrupt 0; x=5";
    reduces(program, "x; y=8", MemoryOrder::Tso, Bound { preemptions: 2, surprises: 1 });
}
