//! What was cut for an operation that then fails for want of memory is whole again.

use super::{Vmm, check, finish, frames, load, shared, sizes, vm};
use crate::arch::{Aarch64, Arch, Prot, Sparc64, X86_64};
use crate::ops::{Advice, HugePages, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use crate::testing::TestMachine;
use crate::{Error, Space};

type Spc<'vm, A> = Space<'vm, TestMachine<A>>;
type Operation<A> = fn(&Spc<'_, A>, u64) -> Result<(), Error>;

fn remap<A: Arch>(space: &Spc<'_, A>, old: u64, to: u64, length: u64) -> Result<(), Error> {
    let place = RemapPlace::Fixed(to);
    let request = RemapRequest { old, old_length: length, new_length: length, place, keep_old: false };
    space.remap(&request).map(|_| ())
}

/// Operations on two huge pages which cut both, by name.
fn operations<A: Arch>() -> [(&'static str, Operation<A>); 6] {
    [
        ("unmap", |space, start| space.unmap(start + sizes::<A>().0, sizes::<A>().1)),
        ("protect", |space, start| space.protect(start + sizes::<A>().0, sizes::<A>().1, Prot::READ)),
        ("discard", |space, start| space.advise(start + sizes::<A>().0, sizes::<A>().1, Advice::DontNeed)),
        ("map", |space, start| {
            let request = MapRequest::anonymous(sizes::<A>().1, Prot::READ);
            space.map(&request.at(Place::Fixed(start + sizes::<A>().0))).map(|_| ())
        }),
        ("move a part", |space, start| {
            let (page, huge_page) = sizes::<A>();
            remap(space, start + page, start + 6 * huge_page, huge_page)
        }),
        ("move askew", |space, start| {
            let (page, huge_page) = sizes::<A>();
            remap(space, start, start + 6 * huge_page + page, 2 * huge_page)
        }),
    ]
}

/// Carries `operation` out with ever more memory, until that is enough: before, nothing has changed.
fn try_with_less<A: Arch>(vm: &Vmm<A>, space: &Spc<'_, A>, start: u64, (name, operation): (&str, Operation<A>)) {
    let (_, huge_page) = sizes::<A>();
    let seen = || {
        let mut huge = 0;
        space.smaps(&mut |entry| huge += entry.anonymous_huge + entry.shared_huge);
        (huge, space.table_pages(), space.rss())
    };
    // As many mappings above as a table has room for by itself: whoever thought that there were more would need memory.
    let behind = MapRequest::anonymous(huge_page, Prot::READ).at(Place::Fixed(start + 2 * huge_page));
    space.map(&behind).expect("room");
    let (before, mut failures) = (seen(), 0);
    assert_eq!(before.0, 2 * huge_page / sizes::<A>().0);
    loop {
        vm.machine().allow_allocations(failures);
        let result = operation(space, start);
        vm.machine().allow_allocations(u64::MAX);
        vm.audited().expect("all is well");
        if result.is_ok() {
            break;
        }
        assert_eq!((result, seen()), (Err(Error::OutOfMemory), before), "{}: {name}, {failures}", A::NAME);
        check(space, start, start + 2 * huge_page);
        failures += 1;
    }
    assert!(failures > 1, "{}: {name} takes two tables at least", A::NAME);
}

fn undone<A: Arch>() {
    for operation in operations::<A>() {
        let vm = vm::<A>(frames::<A>());
        let (space, start) = super::huge(&vm, 2);
        try_with_less(&vm, &space, start, operation);
        drop(space);
        finish(&vm);
        let vm = shared::vm::<A>(frames::<A>());
        let (space, memory, start) = shared::huge(&vm, 2);
        try_with_less(&vm, &space, start, operation);
        drop((space, memory));
        finish(&vm);
    }
}

#[test]
fn what_was_cut_in_vain_is_whole_again() {
    everywhere!(undone);
}

/// Small pages that were never cut stay small, though they are all of a folio's: in a private mapping, and where none
/// are to be huge.
fn small_stay_small<A: Arch>(sharing: Sharing, forbid: fn(&Spc<'_, A>, u64)) {
    let (page, huge_page) = sizes::<A>();
    let vm = shared::vm::<A>(frames::<A>());
    let (space, memory, start) = shared::huge(&vm, 2);
    let other = vm.create_space().expect("a space");
    shared::map(&other, &memory, sharing, start);
    forbid(&other, start);
    for address in (start..start + huge_page).step_by(page as usize) {
        load(&other, address).expect("a page");
    }
    assert_eq!(shared::shown_huge(&other), 0);
    for allowed in 0.. {
        vm.machine().allow_allocations(allowed);
        let result = other.unmap(start + page, huge_page);
        vm.machine().allow_allocations(u64::MAX);
        assert_eq!(shared::shown_huge(&other), 0, "{}: {sharing:?}, {allowed}", A::NAME);
        drop(other.fork().expect("a child"));
        vm.audited().expect("all is well");
        if result.is_ok() {
            assert!(allowed > 0, "it takes a table");
            break;
        }
    }
    drop((space, other, memory));
    finish(&vm);
}

fn never_cut<A: Arch>() {
    small_stay_small::<A>(Sharing::Private, |_, _| ());
    small_stay_small::<A>(Sharing::Shared, |space, _| space.set_huge_pages(HugePages::Never));
    small_stay_small::<A>(Sharing::Shared, |space, start| {
        space.advise(start, 2 * sizes::<A>().1, Advice::NoHugePage).expect("advice");
    });
}

#[test]
fn what_was_never_cut_stays_small() {
    everywhere!(never_cut);
}
