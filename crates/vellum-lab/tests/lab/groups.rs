//! Limits of groups of spaces.

use vellum::arch::{Prot, X86_64};
use vellum::ops::MapRequest;
use vellum_lab::hardware::MachineConfig;
use vellum_lab::hosted::Hosted;
use vellum_lab::swap_device::MemoryDevice;

const PAGE: u64 = 4096;
const LIMIT: u64 = 64;

fn machine() -> Hosted<X86_64> {
    Hosted::new(&MachineConfig::new(1, 4096)).expect("the host has memory")
}

#[test]
fn members_stay_within_the_limit_and_keep_their_contents() {
    let hosted = machine();
    let vm = hosted.vm();
    vm.swap_on(MemoryDevice::new(1024, PAGE as usize), 0).expect("a swap area");
    let group = vm.create_group(LIMIT).expect("a group");
    let spaces = [group.create_space().expect("a space"), group.create_space().expect("a space")];
    let outsider = vm.create_space().expect("a space");
    let map = |space: &vellum::Space<'_, _>| space.map(&MapRequest::anonymous(256 * PAGE, Prot::READ_WRITE)).unwrap();
    let (starts, outside) = (spaces.each_ref().map(map), map(&outsider));
    for page in 0..256 {
        for (number, (space, start)) in spaces.iter().zip(starts).enumerate() {
            hosted.store(0, space, start + page * PAGE, &[page as u8, number as u8]).expect("a store");
            assert!(group.pages() <= LIMIT + 1, "{} pages of {LIMIT}", group.pages());
        }
        hosted.store(0, &outsider, outside + page * PAGE, &[page as u8, 9]).expect("a store");
    }
    assert_eq!(outsider.rss().anonymous, 256, "who is in no group has no limit");
    for page in 0..256 {
        for (number, (space, start)) in spaces.iter().zip(starts).enumerate() {
            let seen = hosted.load(0, space, start + page * PAGE, 2).expect("a load");
            assert_eq!(seen, [page as u8, number as u8]);
        }
    }
    let child = spaces[0].fork().expect("a child");
    assert_eq!(hosted.load(0, &child, starts[0] + PAGE, 2).expect("a load"), [1, 0]);
    assert!(group.pages() <= LIMIT + spaces[0].rss().anonymous, "a child is a member");
    drop((child, spaces));
    assert_eq!(group.pages(), 0, "nothing is left of members that have ended");
    assert_eq!(hosted.take_violations(), []);
    // SAFETY: CPUs take turns, and none is inside the core.
    unsafe { vm.audit() }.expect("a clean audit");
}

#[test]
fn a_group_without_swap_runs_out_of_memory_alone() {
    let hosted = machine();
    let group = hosted.vm().create_group(LIMIT).expect("a group");
    let space = group.create_space().expect("a space");
    let start = space.map(&MapRequest::anonymous(256 * PAGE, Prot::READ_WRITE)).unwrap();
    let stored = (0..256).take_while(|page| hosted.store(0, &space, start + page * PAGE, &[1]).is_ok()).count();
    assert_eq!(stored as u64, LIMIT, "as many pages as the limit");
    group.set_limit(2 * LIMIT);
    hosted.store(0, &space, start + LIMIT * PAGE, &[1]).expect("the limit is higher now");
    // SAFETY: CPUs take turns, and none is inside the core.
    unsafe { hosted.vm().audit() }.expect("a clean audit");
}
