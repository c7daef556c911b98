//! Policies of ranges.

use super::*;
use crate::testing::become_cpu;
use crate::{NodeSet, Policy};

fn two_nodes() -> Vm<TestMachine> {
    become_cpu(0);
    Vm::new(TestMachine::with(&[(0x100, 3000, 0), (0x2000, 3000, 1)], &[0, 1])).expect("a machine")
}

fn policies(space: &Space<'_, TestMachine>) -> Vec<(u64, u64, Policy)> {
    let mut all = Vec::new();
    space.maps(&mut |map| all.push((map.start, map.end, map.policy)));
    all
}

/// The node of the page at `address`.
fn node_of(space: &Space<'_, TestMachine>, address: u64) -> u8 {
    let pfn = space.translate(address).expect("a page").pfn;
    space.vm().physical().frame(pfn).node()
}

#[test]
fn a_policy_splits_and_joins_ranges() {
    let vm = two_nodes();
    let space = vm.create_space().expect("memory");
    let base = space.map(&MapRequest::anonymous(8 * PAGE, Prot::READ_WRITE)).expect("room");
    let (bind, local) = (Policy::Bind(NodeSet(2)), Policy::Local);
    space.set_policy(base + 2 * PAGE, 3 * PAGE, bind).expect("a policy");
    let (middle, behind, end) = (base + 2 * PAGE, base + 5 * PAGE, base + 8 * PAGE);
    assert_eq!(policies(&space), [(base, middle, local), (middle, behind, bind), (behind, end, local)]);
    space.protect(base, 8 * PAGE, Prot::READ).expect("rights");
    assert_eq!(policies(&space).len(), 3);
    space.advise(base, 8 * PAGE, Advice::Sequential).expect("advice");
    assert_eq!(policies(&space)[1], (middle, behind, bind));
    space.set_policy(base, 8 * PAGE, local).expect("a policy");
    assert_eq!(policies(&space), [(base, end, local)]);
    vm.audited().expect("a sound machine");
}

#[test]
fn faults_take_memory_from_where_the_policy_says() {
    let vm = two_nodes();
    let space = vm.create_space().expect("memory");
    let map = |policy| {
        let request = MapRequest::anonymous(16 * PAGE, Prot::READ_WRITE).with_policy(policy);
        let base = space.map(&request).expect("room");
        (0..16).for_each(|page| store(&space, base + page * PAGE, 1).expect("a page"));
        (0..16).map(|page| node_of(&space, base + page * PAGE)).collect::<Vec<_>>()
    };
    assert_eq!(map(Policy::Local), [0; 16]);
    assert_eq!(map(Policy::Bind(NodeSet(2))), [1; 16]);
    assert_eq!(map(Policy::Preferred(1)), [1; 16]);
    let spread = map(Policy::Interleave(NodeSet(3)));
    assert!(spread.windows(2).all(|pair| pair[0] != pair[1]), "{spread:?}");
    become_cpu(1);
    assert_eq!(map(Policy::Local), [1; 16]);
    assert_eq!(map(Policy::Bind(NodeSet(1))), [0; 16]);
    become_cpu(0);
    vm.audited().expect("a sound machine");
}

#[test]
fn children_and_moved_ranges_keep_the_policy() {
    let vm = two_nodes();
    let space = vm.create_space().expect("memory");
    let policy = Policy::Preferred(1);
    let base = space.map(&MapRequest::anonymous(4 * PAGE, Prot::READ_WRITE).with_policy(policy)).expect("room");
    store(&space, base, 1).expect("a page");
    let child = space.fork().expect("memory");
    assert_eq!(policies(&child), [(base, base + 4 * PAGE, policy)]);
    // A copy of a shared page, and a fresh one.
    store(&child, base, 2).expect("a page");
    store(&child, base + PAGE, 2).expect("a page");
    assert_eq!((node_of(&child, base), node_of(&child, base + PAGE)), (1, 1));
    let request = RemapRequest { old: base, old_length: 4 * PAGE, new_length: 6 * PAGE, ..remap_anywhere() };
    let moved = space.remap(&request).expect("room");
    assert_eq!(policies(&space), [(moved, moved + 6 * PAGE, policy)]);
    vm.audited().expect("a sound machine");
}

fn remap_anywhere() -> RemapRequest {
    RemapRequest { old: 0, old_length: 0, new_length: 0, place: RemapPlace::MayMove, keep_old: false }
}

#[test]
fn a_binding_runs_out_before_the_machine_does() {
    let vm = two_nodes();
    let space = vm.create_space().expect("memory");
    let request = MapRequest::anonymous(4000 * PAGE, Prot::READ_WRITE).with_policy(Policy::Bind(NodeSet(2)));
    let base = space.map(&request).expect("room");
    let stored = (0..4000).take_while(|page| store(&space, base + page * PAGE, 1).is_ok()).count() as u64;
    assert!(stored < 3000, "{stored} pages");
    let failed = base + stored * PAGE;
    assert_eq!(store(&space, failed, 1), Err(FaultError::OutOfMemory { address: failed }));
    space.set_policy(base, 4000 * PAGE, Policy::Preferred(1)).expect("a policy");
    store(&space, failed, 1).expect("a page of the other node");
    assert_eq!(node_of(&space, failed), 0);
    vm.audited().expect("a sound machine");
}

#[test]
fn bad_policies_and_ranges_change_nothing() {
    let vm = two_nodes();
    let space = vm.create_space().expect("memory");
    let base = space.map(&MapRequest::anonymous(4 * PAGE, Prot::READ_WRITE)).expect("room");
    let before = policies(&space);
    for policy in [Policy::Bind(NodeSet::EMPTY), Policy::Preferred(2), Policy::Interleave(NodeSet(5))] {
        assert!(matches!(space.set_policy(base, PAGE, policy), Err(Error::Invalid { .. })));
        let request = MapRequest::anonymous(PAGE, Prot::READ_WRITE).with_policy(policy);
        assert!(matches!(space.map(&request), Err(Error::Invalid { .. })));
    }
    let policy = Policy::Preferred(1);
    assert_eq!(space.set_policy(base + 1, 0, policy), Err(Error::Unaligned { what: "address", value: base + 1 }));
    assert_eq!(space.set_policy(base, 0, policy), Ok(()));
    let beyond = base + 4 * PAGE;
    assert_eq!(space.set_policy(base, 5 * PAGE, policy), Err(Error::NotMapped { address: beyond }));
    assert_eq!(policies(&space), before);
    vm.audited().expect("a sound machine");
}
