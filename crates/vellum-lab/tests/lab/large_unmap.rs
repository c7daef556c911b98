//! Unmapping much memory that several CPUs use costs few flushes: one for many leaves, and one interrupt to each CPU
//! for that.

use vellum::arch::{Aarch64, Arch, Prot, X86_64, entries};
use vellum::ops::{Access, Advice, MapRequest, Place};
use vellum::{Event, Space};
use vellum_lab::hardware::MachineConfig;
use vellum_lab::host::Host;
use vellum_lab::hosted::Hosted;

const CPUS: usize = 4;
/// Leaves that one flush serves at least, but for the last one.
const LEAVES_A_FLUSH: u64 = 16;

/// What is done to `length` bytes at an address.
type Operation<A> = fn(&Space<'_, Host<A>>, u64, u64);

/// Counts the flushes and interrupts of `operation` on `pages` pages, each touched, from `skipped` pages behind the
/// start of a leaf on; then checks that everything is gone and nothing else.
fn flushes_of<A: Arch>(pages: u64, skipped: u64, operation: Operation<A>) -> (u64, u64) {
    let page = 1 << A::PAGE_SHIFT;
    let leaf = entries::<A>(0) as u64 * page;
    let hosted = Hosted::<A>::new(&MachineConfig::new(CPUS, pages + 4096)).expect("a machine");
    let vm = hosted.vm();
    let space = hosted.on(0, || vm.create_space()).expect("a space");
    let start = 64 * leaf + skipped * page;
    let (before, behind) = (start - page, start + pages * page);
    let whole = MapRequest::anonymous((pages + 2) * page, Prot::READ_WRITE).at(Place::Fixed(before));
    hosted.on(0, || space.map(&whole)).expect("room");
    hosted.on(0, || space.populate(before, (pages + 2) * page, Access::Write)).expect("memory");
    for cpu in 0..CPUS {
        for address in [before, start, behind - page, behind] {
            hosted.store(cpu, &space, address, &[7]).expect("mapped");
        }
    }
    let count = || [Event::FlushBatch, Event::InterruptSent, Event::Broadcast].map(|event| vm.totals().get(event));
    let earlier = count();
    hosted.on(0, || operation(&space, start, pages * page));
    let [batches, interrupts, broadcasts] = std::array::from_fn(|index| count()[index] - earlier[index]);
    hosted.audit_tlbs();
    assert_eq!(space.rss().anonymous, 2);
    for cpu in 0..CPUS {
        assert!([before, behind].iter().all(|&at| hosted.load(cpu, &space, at, 1) == Ok(vec![7])));
        for at in [start, behind - page] {
            assert!(hosted.load(cpu, &space, at, 1).map_or_else(|error| error.is_segv(), |bytes| bytes == [0]));
        }
    }
    // SAFETY: nobody is inside the core.
    unsafe { vm.audit() }.expect("a clean audit");
    assert_eq!(hosted.take_violations(), []);
    (batches, interrupts + broadcasts)
}

fn unmap<A: Arch>(space: &Space<'_, Host<A>>, start: u64, length: u64) {
    space.unmap(start, length).expect("no error");
}

fn discard<A: Arch>(space: &Space<'_, Host<A>>, start: u64, length: u64) {
    space.advise(start, length, Advice::DontNeed).expect("mapped");
}

fn replace<A: Arch>(space: &Space<'_, Host<A>>, start: u64, length: u64) {
    let request = MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(start));
    space.map(&request).expect("room");
}

/// On an architecture, with as many messages to other CPUs as `messages` says for each flush.
fn whole_leaves_share_flushes<A: Arch>(messages: u64) {
    let leaf = entries::<A>(0) as u64;
    for operation in [unmap::<A> as Operation<A>, discard::<A>, replace::<A>] {
        for (leaves, skipped) in [(32, 0), (34, leaf / 2)] {
            let (flushes, sent) = flushes_of::<A>(leaves * leaf, skipped, operation);
            // Pages of two leaves that are covered in part may need one each.
            let most = leaves.div_ceil(LEAVES_A_FLUSH) + u64::from(skipped > 0) * 2;
            assert!(flushes <= most, "{flushes} flushes for {leaves} leaves on {}, not {most}", A::NAME);
            assert!(sent <= flushes * messages, "{sent} messages for {flushes} flushes");
        }
    }
}

#[test]
fn whole_leaves_share_flushes_by_interrupt() {
    whole_leaves_share_flushes::<X86_64>(CPUS as u64 - 1);
}

#[test]
fn whole_leaves_share_flushes_by_broadcast() {
    whole_leaves_share_flushes::<Aarch64>(1);
}
