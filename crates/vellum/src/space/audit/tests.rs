//! What the audit of a space finds.

use super::AuditError;
use crate::Vm;
use crate::arch::{Prot, X86_64};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::ops::{MapRequest, Place, Sharing};
use crate::testing::user::store;
use crate::testing::{TestMachine, become_cpu};
use core::sync::atomic::Ordering::Relaxed;

const AT: u64 = 1 << 40;
/// Of an entry of x86-64: its pages are not cached. The core makes no upper entry with it, and takes one for no table.
const CACHE_DISABLE: u64 = 1 << 4;

/// An upper entry in which somebody has changed what the core does not: from then on it would pass by the tables below,
/// and the processor would not.
#[test]
fn an_upper_entry_that_is_no_table_is_found() {
    become_cpu(0);
    let vm = Vm::new(TestMachine::<X86_64>::new(512)).expect("a machine");
    let space = vm.create_space().expect("memory");
    let request = MapRequest::anonymous(4096, Prot::READ_WRITE).at(Place::Fixed(AT));
    assert_eq!(space.map(&request), Ok(AT));
    store(&space, AT, 1).expect("memory");
    vm.audited().expect("a sound machine");
    for level in 1..4 {
        let pfn = space.inner().table_at(&Cx::enter(&vm), AT, level).pfn;
        let slot = (AT >> (12 + 9 * level)) as usize % 512;
        // SAFETY: a table's frame; the test is alone.
        let word = unsafe { &mut *vm.machine().frame(pfn).cast::<u64>().add(slot) };
        *word |= CACHE_DISABLE;
        let found = vm.audited().err();
        assert_eq!(found, Some(AuditError::Upper { space: space.id(), address: AT, level }));
        *word &= !CACHE_DISABLE;
        vm.audited().expect("a sound machine");
    }
}

/// An entry that shows a page which has left its object, or another page than its mapping shows there.
#[test]
fn an_entry_that_shows_no_page_of_its_own_is_found() {
    become_cpu(0);
    let vm = Vm::new(TestMachine::<X86_64>::new(512)).expect("a machine");
    let (space, memory) = (vm.create_space().expect("memory"), vm.shared_memory(2).expect("memory"));
    let request = MapRequest::object(&memory, 0, Sharing::Shared, 8192, Prot::READ_WRITE).at(Place::Fixed(AT));
    assert_eq!(space.map(&request), Ok(AT));
    store(&space, AT, 1).expect("memory");
    let pfn = space.translate(AT).expect("a page").pfn;
    let frame = vm.physical().frame(pfn);
    vm.audited().expect("a sound machine");
    let found = Some(AuditError::Shown { space: space.id(), address: AT, frame: pfn });
    let (object, index) = (frame.words[0].swap(0, Relaxed), frame.words[1].swap(1, Relaxed));
    assert_eq!(vm.audited().err(), found);
    frame.words[0].store(object, Relaxed);
    assert_eq!(vm.audited().err(), found, "it is the object's second page");
    frame.words[1].store(index, Relaxed);
    vm.audited().expect("a sound machine");
}
