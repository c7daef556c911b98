//! Mistakes of operations on ranges of a space.

use super::world::*;
use super::{Row, provoke};
use std::sync::atomic::Ordering::Relaxed;
use vellum::arch::{Aarch64, Prot};
use vellum::ops::{Access, Advice, HugePages, MapFlags, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use vellum::phys::NodeSet;
use vellum::{Error, Object, Policy, Space, Vm};
use vellum_lab::hardware::MachineConfig;

pub(super) fn add(rows: &mut Vec<Row>) {
    mapping(rows);
    policies(rows);
    unmapping(rows);
    protecting(rows);
    moving(rows);
    advising(rows);
    populating(rows);
    asking(rows);
    growing(rows);
    writing(rows);
    migrating(rows);
}

/// What is wrong with a range, whatever is done with it.
fn range(rows: &mut Vec<Row>, call: &'static str, act: fn(&Space<'_, M>, u64, u64) -> Result<(), Error>) {
    provoke! { rows, call,
        "the address is not aligned" => |w| w.fails(|| act(&w.space, B + 1, P));
        "the length rounded up wraps around" => |w| w.fails(|| act(&w.space, B, u64::MAX));
        "the range wraps around" => |w| w.fails(|| act(&w.space, B, 0u64.wrapping_sub(P)));
        "the range leaves the address space" => |w| w.fails(|| act(&w.space, B, END));
    }
}

/// A range of length 0.
fn empty(rows: &mut Vec<Row>, call: &'static str, act: fn(&Space<'_, M>, u64, u64) -> Result<(), Error>) {
    provoke! { rows, call,
        "the length is 0" => |w| w.fails(|| act(&w.space, B, 0));
    }
}

fn mapping(rows: &mut Vec<Row>) {
    let page = || MapRequest::anonymous(P, RW);
    provoke! { rows, "Space::map",
        "the length is 0" => |w| w.fails(|| w.space.map(&MapRequest::anonymous(0, RW)));
        "the length rounded up wraps around" => |w| w.fails(|| w.space.map(&MapRequest::anonymous(u64::MAX, RW)));
        "the rights exceed `max_prot`" => |w| w.fails(|| w.space.map(&MapRequest { max_prot: R, ..page() }));
        "the offset is not aligned" => |w| {
            let file = w.file(&Disk::new(4));
            w.fails(|| w.space.map(&MapRequest::object(&file, 1, Sharing::Shared, P, R)))
        };
        "what is not private and anonymous is to grow down" => |w| {
            w.fails(|| w.space.map(&MapRequest::shared(P, RW).with(MapFlags::GROWS_DOWN)))
        };
        "memory tags, where there are none" => |w| w.fails(|| w.space.map(&page().with(MapFlags::TAGGED)));
        "memory tags for what is not private and anonymous" => |_w| tags_of_shared_memory();
        "it reaches beyond offset 2^63" => |w| {
            let file = w.file(&Disk::new(4));
            w.fails(|| w.space.map(&MapRequest::object(&file, (1 << 63) - P, Sharing::Shared, P, R)))
        };
        "shared memory of 2^63 bytes" => |w| w.fails(|| w.space.map(&MapRequest::shared(1 << 63, R)));
        "the object is another instance's" => |w| {
            let other = Vm::new(det(&MachineConfig::new(1, 1024))).expect("a machine");
            let object = other.shared_memory(1).expect("memory");
            let space: &Space<'_, M> = &w.space;
            w.fails(|| map_foreign(space, &object))
        };
        "the policy names no node" => |w| {
            w.fails(|| w.space.map(&page().with_policy(Policy::Bind(NodeSet::EMPTY))))
        };
        "the policy names a node without memory" => |w| {
            w.fails(|| w.space.map(&page().with_policy(Policy::Preferred(200))))
        };
        "a fixed address is not aligned" => |w| w.fails(|| w.space.map(&page().at(Place::Fixed(B + 1))));
        "a fixed address is too low" => |w| w.fails(|| w.space.map(&page().at(Place::FixedNoReplace(P))));
        "a fixed range leaves the address space" => |w| w.fails(|| w.space.map(&page().at(Place::Fixed(END))));
        "something is there, and must not be replaced" => |w| {
            w.fails(|| w.space.map(&MapRequest::anonymous(3 * P, RW).at(Place::FixedNoReplace(B - 2 * P))))
        };
        "there is no room" => |w| w.fails(|| w.space.map(&MapRequest::anonymous(END, RW)));
        "there is no room, as it would wrap around anywhere" => |w| {
            w.fails(|| w.space.map(&MapRequest::anonymous(0u64.wrapping_sub(P), RW)))
        };
        "the space is at its limit" => |w| {
            w.space.set_mapped_limit(w.space.mapped_bytes());
            w.fails(|| w.space.map(&page()))
        };
        "no more may be committed" => |w| {
            w.commit_no_more();
            w.fails(|| w.space.map(&page()))
        };
        "memory is short" => |w| w.starves(|| w.space.map(&page().at(Place::Fixed(FAR))));
    }
    provoke! { rows, "Space::find_room",
        "there is none" => |w| w.fails(|| w.space.find_room(END));
        "nowhere is there so much" => |w| w.fails(|| w.space.find_room(u64::MAX));
    }
}

/// Both are of as short a life as the shorter one.
fn map_foreign<'a>(space: &Space<'a, M>, object: &Object<'a, M>) -> Result<u64, Error> {
    space.map(&MapRequest::object(object, 0, Sharing::Shared, P, R))
}

fn tags_of_shared_memory() -> Told {
    let vm = Vm::new(det::<Aarch64>(&MachineConfig::new(1, 1024))).expect("a machine");
    let space = vm.create_space().expect("memory");
    fails(&vm, &[&space], &[], || space.map(&MapRequest::shared(P, RW).with(MapFlags::TAGGED)))
}

fn policies(rows: &mut Vec<Row>) {
    let interleave = |space: &Space<'_, M>, start, length| {
        space.set_policy(start, length, Policy::Interleave(NodeSet::EMPTY.with(0)))
    };
    provoke! { rows, "Space::set_policy",
        "the policy names no node" => |w| w.fails(|| w.space.set_policy(B, P, Policy::Bind(NodeSet::EMPTY)));
        "the policy names a node without memory" => |w| w.fails(|| w.space.set_policy(B, P, Policy::Preferred(1)));
    }
    range(rows, "Space::set_policy", interleave);
    provoke! { rows, "Space::set_policy",
        "a hole" => |w| w.fails(|| interleave(&w.space, B, 5 * P));
        "memory is short" => |w| w.starves(|| interleave(&w.space, LARGE + P, P));
    }
}

fn unmapping(rows: &mut Vec<Row>) {
    let unmap = |space: &Space<'_, M>, start, length| space.unmap(start, length);
    range(rows, "Space::unmap", unmap);
    empty(rows, "Space::unmap", unmap);
    provoke! { rows, "Space::unmap",
        "memory is short" => |w| w.starves(|| w.space.unmap(LARGE + P, P));
    }
}

/// A file behind the mappings at `B`, at `B + 4 P`, that must not be stored to.
fn put_read_only(w: &World<'_>) {
    w.put_file(B + 4 * P, 1, R, R, &w.file(&Disk::new(4)));
}

fn protecting(rows: &mut Vec<Row>) {
    range(rows, "Space::protect", |space, start, length| space.protect(start, length, R));
    provoke! { rows, "Space::protect",
        "a hole" => |w| w.fails(|| w.space.protect(B, 5 * P, R));
        "more than `max_prot`" => |w| {
            put_read_only(w);
            w.fails(|| w.space.protect(B, 5 * P, RW))
        };
        "no more may be committed" => |w| {
            w.put(FAR, MapRequest::anonymous(P, R));
            w.commit_no_more();
            w.fails(|| w.space.protect(FAR, P, RW))
        };
        "memory is short" => |w| w.starves(|| w.space.protect(LARGE + P, P, R));
    }
    range(rows, "Space::protect_partly", |space, start, length| space.protect_partly(start, length, R));
    provoke! { rows, "Space::protect_partly",
        "a hole at the beginning" => |w| w.fails(|| w.space.protect_partly(B + 4 * P, P, R));
        "a hole" => |w| w.partly("what lies before it has the rights", || w.space.protect_partly(B, 5 * P, R));
        "more than `max_prot`" => |w| {
            put_read_only(w);
            w.partly("what lies before it has the rights", || w.space.protect_partly(B, 5 * P, RW))
        };
        "no more may be committed" => |w| {
            w.space.protect(B, P, R).expect("mapped");
            w.put(B + P, MapRequest::anonymous(P, R));
            w.commit_no_more();
            w.partly("what lies before it has the rights", || w.space.protect_partly(B, 2 * P, RW))
        };
        "memory is short" => |w| w.starves(|| w.space.protect_partly(LARGE + P, P, R));
    }
    let stack = |space: &Space<'_, M>, start, length| space.protect_stack(start, length, R);
    range(rows, "Space::protect_stack", stack);
    empty(rows, "Space::protect_stack", stack);
    provoke! { rows, "Space::protect_stack",
        "no more may be committed" => |w| {
            w.put_stack(FAR, P, R);
            w.commit_no_more();
            w.fails(|| w.space.protect_stack(FAR, P, RW))
        };
        "nothing is mapped there" => |w| w.fails(|| w.space.protect_stack(B + 4 * P, P, R));
        "what is mapped there first does not grow down" => |w| w.fails(|| w.space.protect_stack(B, P, R));
        "a hole" => |w| {
            w.put_stack(FAR, 4 * P, RW);
            let protect = || w.space.protect_stack(FAR + 2 * P, 3 * P, R);
            w.partly("what lies before it has the rights, from the beginning of the stack on", protect)
        };
        "more than `max_prot`" => |w| {
            w.put_stack(FAR, 4 * P, R);
            w.put_file(FAR + 4 * P, 1, R, R, &w.file(&Disk::new(4)));
            let protect = || w.space.protect_stack(FAR + 2 * P, 3 * P, RW);
            w.partly("what lies before it has the rights, from the beginning of the stack on", protect)
        };
        "memory is short" => |w| {
            w.put_stack(LARGE, GIB, RW);
            w.starves(|| w.space.protect_stack(LARGE + 2 * P, P, R))
        };
    }
}

fn moving(rows: &mut Vec<Row>) {
    /// Remaps two pages at `B`, but for what `change` says.
    fn remap(w: &World<'_>, change: fn(&mut RemapRequest)) -> Result<u64, Error> {
        let place = RemapPlace::InPlace;
        let mut request = RemapRequest { old: B, old_length: 2 * P, new_length: 2 * P, place, keep_old: false };
        change(&mut request);
        w.space.remap(&request)
    }
    const NEW: u64 = B + 20 * P;
    provoke! { rows, "Space::remap",
        "the address is not aligned" => |w| w.fails(|| remap(w, |it| it.old = B + 1));
        "the new length is 0" => |w| w.fails(|| remap(w, |it| it.new_length = 0));
        "the old length rounded up wraps around" => |w| w.fails(|| remap(w, |it| it.old_length = u64::MAX));
        "the new length rounded up wraps around" => |w| w.fails(|| remap(w, |it| it.new_length = u64::MAX));
        "the old mapping is to stay, and the length changes" => |w| w.fails(|| remap(w, |it| {
            (it.new_length, it.place, it.keep_old) = (3 * P, RemapPlace::MayMove, true);
        }));
        "the old mapping is to stay, and nothing may move" => |w| w.fails(|| remap(w, |it| it.keep_old = true));
        "the new address is not aligned" => |w| w.fails(|| remap(w, |it| it.place = RemapPlace::Fixed(NEW + 1)));
        "the new range leaves the address space" => |w| w.fails(|| remap(w, |it| it.place = RemapPlace::Fixed(END)));
        "the ranges overlap" => |w| w.fails(|| remap(w, |it| it.place = RemapPlace::Fixed(B + P)));
        "the new address is too low" => |w| w.fails(|| remap(w, |it| it.place = RemapPlace::Fixed(P)));
        "nothing is mapped at the address" => |w| w.fails(|| remap(w, |it| it.old = B + 10 * P));
        "nothing is mapped at the beginning of several" => |w| w.fails(|| remap(w, |it| {
            (it.old, it.place) = (B - P, RemapPlace::Fixed(NEW));
        }));
        "several mappings, where there must be one" => |w| w.fails(|| remap(w, |it| {
            (it.old_length, it.new_length, it.place) = (3 * P, 4 * P, RemapPlace::MayMove);
        }));
        "the old range leaves the address space" => |w| w.fails(|| remap(w, |it| {
            (it.old_length, it.new_length, it.place) = (END, END, RemapPlace::MayMove);
            it.keep_old = true;
        }));
        "what is cut off leaves the address space" => |w| w.fails(|| remap(w, |it| it.old_length = END));
        "a private mapping is to be mapped a second time" => |w| w.fails(|| remap(w, |it| {
            (it.old_length, it.place) = (0, RemapPlace::MayMove);
        }));
        "it cannot grow in place, and must not move" => |w| w.fails(|| remap(w, |it| it.new_length = 3 * P));
        "it would grow beyond the address space, and must not move" => |w| w.fails(|| remap(w, |it| it.new_length = END));
        "there is no room" => |w| w.fails(|| remap(w, |it| {
            (it.new_length, it.place) = (END, RemapPlace::MayMove);
        }));
        "it reaches beyond offset 2^63" => |w| {
            let file = w.file(&Disk::new(4));
            w.put(NEW, MapRequest::object(&file, (1 << 63) - 2 * P, Sharing::Shared, P, R));
            w.fails(|| remap(w, |it| (it.old, it.old_length) = (NEW, P)))
        };
        "the space is at its limit" => |w| {
            w.space.set_mapped_limit(w.space.mapped_bytes());
            w.fails(|| remap(w, |it| (it.new_length, it.place) = (3 * P, RemapPlace::MayMove)))
        };
        "no more may be committed" => |w| {
            w.commit_no_more();
            w.fails(|| remap(w, |it| (it.new_length, it.place) = (3 * P, RemapPlace::MayMove)))
        };
        "memory is short" => |w| w.starves(|| remap(w, |it| it.place = RemapPlace::Fixed(FAR)));
    }
}

/// Bytes of a huge page.
const HUGE: u64 = 2 << 20;

/// Calls with an advice and whether only in part.
type Advise = fn(&Space<'_, M>, u64, u64, Advice) -> Result<(), Error>;

fn advising(rows: &mut Vec<Row>) {
    range(rows, "Space::advise", |space, start, length| space.advise(start, length, Advice::DontNeed));
    advice_that_does_not_fit(rows, "Space::advise", |space, start, length, advice| space.advise(start, length, advice));
    provoke! { rows, "Space::advise",
        "a hole" => |w| w.fails(|| w.space.advise(B, 5 * P, Advice::DontNeed));
        "memory is short" => |w| w.starves(|| w.space.advise(LARGE + P, P, Advice::DontFork));
        "to populate, and there is a hole" => |w| w.fails(|| w.space.advise(B, 5 * P, Advice::PopulateRead));
    }
    range(rows, "Space::advise_partly", |space, start, length| space.advise_partly(start, length, Advice::DontNeed));
    advice_that_does_not_fit(rows, "Space::advise_partly", |space, start, length, advice| {
        space.advise_partly(start, length, advice)
    });
    provoke! { rows, "Space::advise_partly",
        "a hole" => |w| {
            w.partly("what is mapped has taken the advice", || w.space.advise_partly(B, 5 * P, Advice::DontNeed))
        };
        "a mapping that the advice does not fit, behind others" => |w| {
            w.partly("what lies before it has taken the advice", || w.space.advise_partly(B, 3 * P, Advice::Free))
        };
        "memory is short" => |w| w.starves(|| w.space.advise_partly(LARGE + P, P, Advice::DontFork));
    }
}

fn advice_that_does_not_fit(rows: &mut Vec<Row>, call: &'static str, advise: Advise) {
    provoke! { rows, call,
        "what is not built yet" => |w| w.fails(|| advise(&w.space, B, P, Advice::Mergeable));
        "`Collapse` of a file" => |w| {
            w.put_file(FAR, 1, R, R, &w.file(&Disk::new(4)));
            w.fails(|| advise(&w.space, FAR, P, Advice::Collapse))
        };
        "`Collapse` where no huge pages are wanted" => |w| {
            w.space.advise(B, P, Advice::NoHugePage).expect("mapped");
            w.fails(|| advise(&w.space, B, P, Advice::Collapse))
        };
        "`Collapse` of a guard" => |w| {
            w.space.advise(B, P, Advice::GuardInstall).expect("mapped");
            w.fails(|| advise(&w.space, B, P, Advice::Collapse))
        };
        "`Collapse` where there is no page" => |w| w.fails(|| advise(&w.space, LARGE, HUGE, Advice::Collapse));
        "`Collapse` of shared memory that ends within" => |w| {
            let memory = w.vm.shared_memory(1).expect("memory");
            let request = MapRequest::object(&memory, 0, Sharing::Shared, HUGE, RW).at(Place::Fixed(LARGE));
            w.space.map(&request).expect("memory");
            w.store(LARGE);
            w.fails(|| advise(&w.space, LARGE, HUGE, Advice::Collapse))
        };
        "`Collapse`, and somebody holds a page" => |w| {
            w.store(LARGE);
            w.fails(|| {
                let _held = w.space.hold(LARGE);
                advise(&w.space, LARGE, HUGE, Advice::Collapse)
            })
        };
        "`Collapse` in a space that is to have no huge pages" => |w| {
            w.space.set_huge_pages(HugePages::Never);
            w.fails(|| advise(&w.space, B, P, Advice::Collapse))
        };
        "`Collapse`, and the space's group has no room" => |w| {
            let group = w.vm.create_group(0).expect("memory");
            let space = group.create_space().expect("memory");
            space.map(&MapRequest::anonymous(HUGE, RW).at(Place::Fixed(LARGE))).expect("memory");
            group.set_limit(1);
            space.fault(LARGE, Access::Write).expect("memory");
            w.fails(|| advise(&space, LARGE, HUGE, Advice::Collapse))
        };
        "`Collapse`, and memory is short" => |w| {
            w.store(LARGE);
            w.starves(|| advise(&w.space, LARGE, HUGE, Advice::Collapse))
        };
        "`Free` of what is not private and anonymous" => |w| w.fails(|| advise(&w.space, B + 2 * P, P, Advice::Free));
        "`WipeOnFork` of what is not private and anonymous" => |w| {
            w.fails(|| advise(&w.space, B + 2 * P, P, Advice::WipeOnFork))
        };
        "`Remove` of private anonymous memory" => |w| w.fails(|| advise(&w.space, B, P, Advice::Remove));
        "`Remove` of what must not be stored to" => |w| {
            put_read_only(w);
            w.fails(|| advise(&w.space, B + 4 * P, P, Advice::Remove))
        };
        "`Remove` of a private mapping of a file" => |w| {
            let file = w.file(&Disk::new(4));
            w.put(B + 4 * P, MapRequest::object(&file, 0, Sharing::Private, P, RW));
            w.fails(|| advise(&w.space, B + 4 * P, P, Advice::Remove))
        };
        "`Remove` of a file that has no holes" => |w| {
            let (_file, _) = w.put_bad_file(4, u64::MAX);
            w.fails(|| advise(&w.space, B + 8 * P, P, Advice::Remove))
        };
        "`Remove`, and the backing fails" => |w| {
            let disk = std::sync::Arc::new(Disk { holes: Some(false), ..Disk::of(4) });
            let file = w.file(&disk);
            w.put_file(B + 8 * P, 4, RW, RW, &file);
            w.store(B + 8 * P);
            w.partly("the pages have gone", || advise(&w.space, B + 8 * P, P, Advice::Remove))
        };
    }
}

/// Populates a range.
type Populate = fn(&Space<'_, M>, u64, u64, Access) -> Result<(), Error>;

fn populating(rows: &mut Vec<Row>) {
    let whole: Populate = |space, start, length, access| space.populate(start, length, access);
    range(rows, "Space::populate", |space, start, length| space.populate(start, length, Access::Read));
    empty(rows, "Space::populate", |space, start, length| space.populate(start, length, Access::Read));
    provoke! { rows, "Space::populate",
        "a hole" => |w| w.fails(|| w.space.populate(B, 5 * P, Access::Read));
    }
    pages_that_cannot_be_had(rows, "Space::populate", whole);
    let partly: Populate = |space, start, length, access| space.populate_partly(start, length, access);
    range(rows, "Space::populate_partly", |space, start, length| space.populate_partly(start, length, Access::Read));
    empty(rows, "Space::populate_partly", |space, start, length| space.populate_partly(start, length, Access::Read));
    provoke! { rows, "Space::populate_partly",
        "a hole" => |w| w.partly("pages before it are there", || w.space.populate_partly(B, 5 * P, Access::Read));
    }
    pages_that_cannot_be_had(rows, "Space::populate_partly", partly);
}

fn pages_that_cannot_be_had(rows: &mut Vec<Row>, call: &'static str, populate: Populate) {
    let done = "pages before it are there";
    provoke! { rows, call,
        "a right that the mapping does not name" => |w| w.fails(|| populate(&w.space, B + 2 * P, P, Access::Write));
        "a right that a mapping behind others does not name" => |w| {
            w.partly(done, || populate(&w.space, B, 4 * P, Access::Write))
        };
        "a guard" => |w| {
            w.space.advise(B, P, Advice::GuardInstall).expect("mapped");
            w.fails(|| populate(&w.space, B, P, Access::Read))
        };
        "beyond the end of the file" => |w| {
            let (_file, _) = w.put_bad_file(2, u64::MAX);
            w.partly(done, || populate(&w.space, B + 8 * P, 4 * P, Access::Read))
        };
        "a page cannot be read" => |w| {
            let (_file, _) = w.put_bad_file(4, 0);
            w.fails(|| populate(&w.space, B + 8 * P, P, Access::Read))
        };
        "memory is short" => |w| w.starves_in_fault(|| populate(&w.space, LARGE, P, Access::Write));
    }
}

fn asking(rows: &mut Vec<Row>) {
    let ask = |space: &Space<'_, M>, start, pages| space.resident(start, pages, &mut |_| {});
    provoke! { rows, "Space::resident",
        "the address is not aligned" => |w| w.fails(|| ask(&w.space, B + 1, 1));
        "so many pages wrap around" => |w| w.fails(|| ask(&w.space, B, u64::MAX));
        "the range leaves the address space" => |w| w.fails(|| ask(&w.space, B, END / P));
        "a hole" => |w| w.fails(|| ask(&w.space, B, 5));
    }
}

fn growing(rows: &mut Vec<Row>) {
    let base = |w: &World<'_>, base| w.space.set_brk_base(base).expect("no heap yet");
    provoke! { rows, "Space::set_brk_base",
        "the address is not aligned" => |w| w.fails(|| w.space.set_brk_base(B + 1));
        "the address leaves the address space" => |w| w.fails(|| w.space.set_brk_base(END));
        "the address is too low" => |w| w.fails(|| w.space.set_brk_base(P));
        "the heap is not empty" => |w| {
            base(w, FAR);
            w.space.brk(FAR + 1).expect("memory");
            w.fails(|| w.space.set_brk_base(B + 20 * P))
        };
    }
    provoke! { rows, "Space::brk",
        "there is no base" => |w| w.fails(|| w.space.brk(B));
        "the end lies below the base" => |w| {
            base(w, FAR);
            w.fails(|| w.space.brk(FAR - 1))
        };
        "the end leaves the address space" => |w| {
            base(w, END - 2 * P);
            w.fails(|| w.space.brk(END + 1))
        };
        "something is in the way" => |w| {
            base(w, B);
            w.fails(|| w.space.brk(B + 1))
        };
        "something is in the page behind" => |w| {
            base(w, B - 2 * P);
            w.fails(|| w.space.brk(B))
        };
        "a stack would be too close" => |w| {
            w.put_stack(FAR + 20 * P, P, RW);
            base(w, FAR);
            w.fails(|| w.space.brk(FAR + P))
        };
        "what is to be given back is not mapped any more" => |w| {
            base(w, FAR);
            w.space.brk(FAR + 2 * P).expect("memory");
            w.space.unmap(FAR + P, P).expect("memory");
            w.fails(|| w.space.brk(FAR + P))
        };
        "the space is at its limit" => |w| {
            base(w, FAR);
            w.space.set_mapped_limit(w.space.mapped_bytes());
            w.fails(|| w.space.brk(FAR + 1))
        };
        "no more may be committed" => |w| {
            base(w, FAR);
            w.commit_no_more();
            w.fails(|| w.space.brk(FAR + 1))
        };
        "memory is short" => |w| {
            base(w, FAR);
            w.starves(|| w.space.brk(FAR + 1))
        };
    }
}

fn writing(rows: &mut Vec<Row>) {
    let write = |space: &Space<'_, M>, start, length| space.write_back(start, length);
    range(rows, "Space::write_back", write);
    empty(rows, "Space::write_back", write);
    provoke! { rows, "Space::write_back",
        "a hole" => |w| w.fails(|| w.space.write_back(B, 5 * P));
        "a hole before a file" => |w| {
            let (_file, _) = w.put_bad_file(4, u64::MAX);
            w.store(B + 8 * P);
            w.partly("files are written", || w.space.write_back(B + 7 * P, 2 * P))
        };
        "a file cannot be written" => |w| {
            let (_file, disk) = w.put_bad_file(4, u64::MAX);
            w.store(B + 8 * P);
            w.store(B + 9 * P);
            disk.bad.store(0, Relaxed);
            let told = w.partly("its other pages are written", || w.space.write_back(B + 8 * P, P));
            disk.bad.store(u64::MAX, Relaxed);
            told
        };
    }
}

fn migrating(rows: &mut Vec<Row>) {
    let go = |space: &Space<'_, M>, start, length| space.move_pages(start, length, 0).map(|_| ());
    range(rows, "Space::move_pages", go);
    empty(rows, "Space::move_pages", go);
    provoke! { rows, "Space::move_pages",
        "a node without memory" => |w| w.fails(|| w.space.move_pages(B, P, 1));
        "no node has that number" => |w| w.fails(|| w.space.move_pages(B, P, 255));
    }
}

/// Rights that no constant of the core's leaves out.
#[test]
fn rights_have_three_bits() {
    assert_eq!(RX.with(Prot::WRITE).raw(), 7);
}
